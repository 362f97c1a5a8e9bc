"""Lines about steps: one each while they are few, and bundles with counts when a pass ends many at once."""

import io
import json

import pytest
from support.steps import make_step

from reconciler.core.outcome import Outcome, State
from reconciler.server.logs import open_log
from reconciler.server.step_lines import EACH, EACH_SERIOUS, StepLines

MANY = 10_000


class Clock:
    now = 1.0

    def __call__(self):
        return self.now


@pytest.fixture
def written():
    return io.StringIO()


@pytest.fixture
def lines(written):
    return StepLines(open_log(written, form="json").bind(cluster="barn", revision="1234567"), Clock())


def read(written):
    return [json.loads(line) for line in written.getvalue().splitlines()]


def make_outcome(number, state, reason="", wave=0):
    return Outcome(make_step(f"n{number}", cluster="barn", wave=wave), state, reason)


def test_a_few_steps_have_a_line_each(lines, written):
    for number in range(EACH):
        lines.note_end(make_outcome(number, State.DONE))
    lines.flush()
    assert [line["event"] for line in read(written)] == ["step ended"] * EACH


@pytest.mark.parametrize("note", ["note_settled", "note_end"])
def test_many_steps_that_end_at_once_are_one_line_for_each_state_and_wave(lines, written, note):
    for number in range(MANY):
        getattr(lines, note)(make_outcome(number, State.SKIPPED, "waits", wave=1 + number % 2))
    lines.flush()
    found = read(written)
    assert len(found) == EACH + 2
    assert sum(line["steps"] for line in found[EACH:]) == MANY - EACH
    assert {line["wave"] for line in found[EACH:]} == {1, 2}
    assert found[-1]["state"] == "skipped"
    assert found[-1]["messages"] == ["waits"]
    assert len(found[-1]["first"]) <= 10
    assert len(written.getvalue()) < 50_000


@pytest.mark.parametrize("state", [State.FAILED, State.UNKNOWN, State.UNDONE])
def test_what_needs_an_operator_is_named_longer_and_first_of_the_bundles(lines, written, state):
    for number in range(MANY):
        lines.note_end(make_outcome(number, State.DONE))
        lines.note_end(make_outcome(number, state, f"no room on n{number}"))
    lines.flush()
    found = read(written)
    serious = [line for line in found if line["level"] == "warning"]
    assert len(serious) == EACH_SERIOUS + 1
    bundle = found[-2]
    assert (bundle["state"], bundle["steps"], bundle["level"]) == (state, MANY - EACH_SERIOUS, "warning")
    assert bundle["messages"] == [f"no room on n{EACH_SERIOUS + number}" for number in range(3)]
    assert found[-1]["level"] == "info"


def test_a_long_wave_is_told_of_while_it_lasts(lines, written):
    for number in range(EACH + 100):
        lines.clock.now += 1
        lines.note_end(make_outcome(number, State.OFFERED))
    assert 8 <= len(read(written)) - EACH <= 10


def test_a_flush_without_bundles_writes_nothing(lines, written):
    lines.flush()
    lines.note_start(make_outcome(1, State.DONE).step)
    lines.flush()
    assert [line["event"] for line in read(written)] == ["step started"]


def test_a_settled_step_has_the_revision_of_no_other_run(lines, written):
    for number in range(EACH + 1):
        lines.note_settled(make_outcome(number, State.UNKNOWN if number == 0 else State.DONE))
    lines.flush()
    assert all("revision" not in line for line in read(written))
    assert [line["level"] for line in read(written)].count("warning") == 1
