"""Loops that crash are restarted after every kind of error; a signal stops all of them in order."""

import asyncio
import os
import signal

import pytest

from reconciler.core.defect import FRAMES, list_error_frames, name_error
from reconciler.server import supervision
from reconciler.server.supervision import EscapedError, Supervision, contain_errors


def supervised(on_stop=lambda: None, report=lambda *_: None):
    return Supervision(on_stop, report)


BREAKDOWNS = [
    RuntimeError("a message that may quote a secret"),
    RecursionError(),
    MemoryError(),
    ExceptionGroup("several", [ValueError(), KeyError()]),
    BaseExceptionGroup("several", [SystemExit(3)]),
    SystemExit(2),
    KeyboardInterrupt(),
    asyncio.CancelledError(),
]


@pytest.mark.parametrize("error", BREAKDOWNS, ids=lambda error: type(error).__name__)
async def test_a_loop_that_crashes_is_reported_and_restarted(error, monkeypatch):
    monkeypatch.setattr(supervision, "FIRST", 0.001)
    logged, again = [], asyncio.Event()
    tasks = supervised(report=lambda name, error, wait: logged.append((name, error, wait)))

    async def loop():
        if not logged:
            raise error
        again.set()

    tasks.spawn(loop, "source")
    async with asyncio.timeout(10):
        await again.wait()
    ((name, found, wait),) = logged
    assert (name, wait) == ("source", 0.001)
    assert isinstance(found, Exception)
    assert found is error or isinstance(found, EscapedError)
    assert not tasks.stop.is_set()


async def test_a_loop_that_always_crashes_restarts_with_growing_pauses(monkeypatch):
    monkeypatch.setattr(supervision, "FIRST", 0.001)
    monkeypatch.setattr(supervision, "LONGEST", 0.004)
    waits, enough = [], asyncio.Event()

    def report(_name, _error, wait):
        waits.append(wait)
        if len(waits) == 5:
            enough.set()

    async def loop():
        raise OSError

    tasks = supervised(report=report)
    tasks.spawn(loop, "store")
    async with asyncio.timeout(10):
        await enough.wait()
    tasks.interrupt()
    assert await tasks.drain(10)
    assert waits[:5] == [0.001, 0.002, 0.004, 0.004, 0.004]


async def test_a_real_cancellation_passes():
    task = asyncio.create_task(contain_errors(asyncio.Event().wait()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def deep(count):
    if count:
        deep(count - 1)
    raise KeyError("hunter2")


def test_an_error_is_named_by_type_and_place_and_never_by_its_message():
    try:
        try:
            deep(200)
        except KeyError as cause:
            raise ExceptionGroup("several", [ValueError("hunter2")]) from cause
    except ExceptionGroup as error:
        name, trace = name_error(error), list_error_frames(error)
    assert name.startswith("ExceptionGroup of 1: ValueError at ")
    assert "hunter2" not in f"{name} {trace}"
    assert any("test_supervision.py" in line and line.endswith(" deep") for line in trace), trace
    assert trace.count("KeyError:") == 1
    assert len(trace) < 2 * FRAMES


def test_errors_that_cause_each_other_are_named_once():
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    assert [line for line in list_error_frames(first) if line.endswith(":")] == ["ValueError:", "KeyError:"]


async def test_the_first_signal_stops_the_loops_in_its_handler_and_only_once():
    stops = []
    tasks = supervised(on_stop=lambda: stops.append("now"))
    tasks.interrupt()
    assert stops == ["now"]
    tasks.interrupt()
    assert stops == ["now"]


async def test_the_second_signal_ends_the_wait_for_the_loops():
    tasks = supervised()
    tasks.spawn(asyncio.Event().wait, "cluster edge")
    await asyncio.sleep(0)
    tasks.interrupt()
    assert tasks.stop.is_set()
    assert not tasks.force_stop.is_set()
    waiting = asyncio.create_task(tasks.drain(3600))
    await asyncio.sleep(0)
    tasks.interrupt()
    async with asyncio.timeout(10):
        assert not await waiting
        await tasks.cancel()
    assert tasks.running() == ()


async def test_the_grace_is_bounded():
    tasks = supervised()
    tasks.spawn(asyncio.Event().wait, "cluster edge")
    await asyncio.sleep(0)
    assert not await tasks.drain(0.01)
    await tasks.cancel()


async def test_a_loop_that_was_not_begun_before_the_stop_is_not_begun():
    begun, tasks = [], supervised()

    async def loop():
        begun.append("late")

    tasks.spawn(loop, "cluster edge")
    tasks.interrupt()
    assert await tasks.drain(10)
    assert begun == []


async def test_a_loop_that_does_not_even_end_when_it_is_cancelled_is_left_behind(monkeypatch):
    monkeypatch.setattr(supervision, "CANCEL_SECONDS", 0.01)
    tasks, go_on = supervised(), asyncio.Event()

    async def stubborn():
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue

    tasks.spawn(stubborn, "cluster edge")
    await asyncio.sleep(0)
    tasks.interrupt()
    async with asyncio.timeout(10):
        await tasks.cancel()
    assert tasks.running() == ("cluster edge",)
    go_on.set()
    assert await tasks.drain(10)


async def test_a_hangup_that_was_ignored_at_the_start_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    tasks = supervised()
    try:
        with tasks.signals():
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.sleep(0.01)
            assert not tasks.stop.is_set()
            os.kill(os.getpid(), signal.SIGTERM)
            async with asyncio.timeout(10):
                await tasks.stop.wait()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert not tasks.force_stop.is_set()
