"""A log whose reader is gone, slow or out of space: lost lines are counted, and the watch never waits."""

import json
import os
import threading
import time

import pytest

from reconciler.server.log_writer import CLOSED, READER_GONE, READER_SLOW, LogState, LogWriter
from reconciler.server.logs import open_log


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    ends = {reader, writer}
    yield reader, writer, ends
    for end in ends:
        os.close(end)


def filled(number):
    """Fill a pipe, so that the next write blocks; gives how many bytes it took."""
    os.set_blocking(number, False)
    count = 0
    try:
        while True:
            count += os.write(number, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(number, True)
        return count


def test_lines_are_written_completely_and_in_order(pipe):
    reader, number, _ = pipe
    state = LogState()
    writer = LogWriter(number, state)
    for line in range(100):
        writer.write(f"line {line}\n")
    assert writer.drain(10)
    assert os.read(reader, 65536).decode().splitlines() == [f"line {line}" for line in range(100)]
    assert (state.lost, state.problem) == (0, "")


def test_a_reader_that_is_gone_costs_lines_and_nothing_else(pipe):
    reader, number, ends = pipe
    state = LogState()
    writer = LogWriter(number, state)
    os.close(reader)
    ends.remove(reader)
    for _ in range(3):
        writer.write("lost\n")
    assert writer.drain(10)
    assert (state.lost, state.problem) == (3, READER_GONE)


def test_a_full_disk_costs_lines_until_there_is_room():
    number = os.open("/dev/full", os.O_WRONLY)
    state = LogState()
    writer = LogWriter(number, state)
    writer.write("lost\n")
    assert writer.drain(10)
    assert (state.lost, state.problem) == (1, "the disk of the log is full")
    room = os.open(os.devnull, os.O_WRONLY)
    os.dup2(room, number)
    writer.write("written\n")
    assert writer.drain(10)
    assert (state.lost, state.problem) == (1, "")
    os.close(number)
    os.close(room)


def test_a_reader_that_does_not_read_delays_nobody_and_memory_is_bounded(pipe):
    reader, number, _ = pipe
    size, state = filled(number), LogState()
    writer = LogWriter(number, state, limit=1000)
    began = time.monotonic()
    for _ in range(5000):
        writer.write("x" * 99 + "\n")
    assert not writer.drain(0.01)
    assert time.monotonic() - began < 5
    assert state.problem == READER_SLOW
    assert state.lost >= 4985
    os.read(reader, size)  # what filled the pipe; the reader reads again
    assert writer.drain(10)
    writer.write("again\n")
    assert writer.drain(10)
    assert state.problem == ""
    assert os.read(reader, 65536).endswith(b"again\n")


def test_a_line_that_was_cut_off_does_not_swallow_the_next_one(pipe, monkeypatch):
    reader, number, _ = pipe
    real, left = os.write, [4]

    def stingy(target, data):
        if target == number and left:
            left.pop()
            return real(target, bytes(data[:4]))
        if target == number and not left and bytes(data) == b" and more\n":
            raise OSError(28, "No space left on device")
        return real(target, data)

    monkeypatch.setattr(os, "write", stingy)
    state = LogState()
    writer = LogWriter(number, state)
    writer.write("torn and more\n")
    writer.write("whole\n")
    assert writer.drain(10)
    assert os.read(reader, 65536) == b"torn\nwhole\n"
    assert state.lost == 1


def test_a_descriptor_that_somebody_made_non_blocking_is_waited_for(pipe):
    reader, number, _ = pipe
    size = filled(number)
    os.set_blocking(number, False)
    state = LogState()
    writer = LogWriter(number, state)
    writer.write("waited\n")
    threading.Timer(0.02, os.read, (reader, size)).start()
    assert writer.drain(10)
    assert os.read(reader, 65536) == b"waited\n"
    assert state.lost == 0


def test_without_a_standard_error_every_line_counts_as_lost():
    state = LogState()
    writer = LogWriter(2, state, closed=True)
    assert state.problem == CLOSED
    log = open_log(writer)
    log.info("watch started")
    assert writer.drain(10)
    assert (state.lost, state.problem) == (1, CLOSED)


def test_invalid_unicode_is_written_escaped(pipe):
    reader, number, _ = pipe
    writer = LogWriter(number, LogState())
    log = open_log(writer, form="json")
    log.info("odd", message="\udcff", number=2**70, mapping={1: "a"})
    assert writer.drain(10)
    assert json.loads(os.read(reader, 65536))["number"] == 2**70


def test_a_warning_takes_the_place_of_ordinary_lines_that_wait(pipe):
    reader, number, _ = pipe
    count = filled(number)
    state = LogState()
    writer = LogWriter(number, state, limit=10_000)
    log = open_log(writer, form="json")
    for line in range(500):
        log.info("ordinary", line=line)
    lost = state.lost
    for line in range(20):
        log.warning("serious", line=line)
    for line in range(500):
        log.info("ordinary", line=500 + line)
    assert state.lost > lost > 0
    os.read(reader, count)
    text = b""
    while not writer.drain(0.01) or b"serious" not in text:
        text += os.read(reader, 65536)
    found = [json.loads(line) for line in text.decode().strip("x").splitlines()]
    serious = [line["line"] for line in found if line["event"] == "serious"]
    assert serious == list(range(20))
    assert len(found) + state.lost == 1020
    assert [line["line"] for line in found if line["event"] == "ordinary"] == sorted(
        line["line"] for line in found if line["event"] == "ordinary"
    )


def test_warnings_beyond_the_limit_are_lost_and_counted(pipe):
    reader, number, _ = pipe
    filled(number)
    state = LogState()
    writer = LogWriter(number, state, limit=2_000)
    for _ in range(100):
        writer.write_urgent("x" * 99 + "\n")
    assert 78 <= state.lost <= 81
    assert state.problem == READER_SLOW
    assert reader
