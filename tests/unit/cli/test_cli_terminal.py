"""Which stream gets which output, and what happens when the reader closes it."""

import asyncio
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.cli_samples import PLAN, partial, report, upload

from reconciler.cli.output_choices import CHOICES, OutputChoices
from reconciler.cli.progress import ProgressLines, show_progress
from reconciler.cli.terminal import Terminal, catch_stop_signal
from reconciler.host import aio


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


class Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.fixture
def tty(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)

    def install(answer=""):
        """Within the test: pytest puts its own streams back before each."""
        for name, stream in (("stdin", Tty(answer)), ("stdout", Tty()), ("stderr", Tty())):
            monkeypatch.setattr(sys, name, stream)

    return install


def test_colour_only_on_a_terminal_that_wants_it(tty, monkeypatch):
    tty()
    assert Terminal.here().layout.colour
    CHOICES.set(OutputChoices(no_color=True))
    assert not Terminal.here().layout.colour
    CHOICES.set(OutputChoices())
    assert not Terminal.here(for_people=False).layout.colour
    monkeypatch.setenv("NO_COLOR", "1")
    assert not Terminal.here().layout.colour
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not Terminal.here().layout.colour


def test_a_document_for_a_program_is_alone_on_standard_output(tty):
    tty()
    terminal = Terminal.here(for_people=False)
    terminal.remark("aside")
    terminal.say("{}")
    assert (sys.stdout.getvalue(), sys.stderr.getvalue()) == ("{}", "aside")


@pytest.mark.parametrize(
    ("answer", "agreed"), [("y\n", True), ("YES\n", True), ("\n", False), ("", False), ("yo\n", False)]
)
def test_only_y_and_yes_confirm(tty, answer, agreed):
    tty(answer)
    terminal = Terminal.here()
    assert terminal.confirm("Apply?") is agreed
    assert sys.stdout.getvalue().startswith("Apply? [y/N] ")


def test_a_closed_pipe_does_not_stop_an_apply():
    terminal = Terminal(out=Gone(), aside=Gone())
    with show_progress(terminal, 3) as listener:
        for outcome in partial().outcomes:
            listener.on_step_started(outcome.step)
            listener.on_step_ended(outcome)


def test_without_a_terminal_each_step_is_one_line():
    aside = io.StringIO()
    with show_progress(Terminal(out=aside, aside=aside), 43) as listener:
        listener.on_observing("edge", 40)
        listener.on_planned(PLAN)
        for outcome in report().outcomes:
            listener.on_step_started(outcome.step)
            listener.on_step_ended(outcome)
    assert len(aside.getvalue().splitlines()) == 43
    assert "\x1b" not in aside.getvalue()


@pytest.mark.parametrize(("steps", "kept"), [(43, 43), (1000, 5)])
def test_a_terminal_keeps_a_line_for_each_of_few_steps_and_for_failures_of_many(steps, kept):
    aside = Tty()
    with show_progress(Terminal(out=aside, aside=aside, live=True), steps) as listener:
        listener.on_observing("edge", 40)
        for outcome in partial().outcomes:
            listener.on_step_started(outcome.step)
            listener.on_step_ended(outcome)
    words = ("done ", "failed ", "waiting ", "not done ")
    left = [
        line
        for line in aside.getvalue().splitlines()
        if line.split("\r")[-1].lstrip("\x1b[2K").startswith(words)
    ]
    assert len(left) == kept


def test_the_first_signal_requests_a_stop_and_the_second_cancels():
    output = []

    async def work():
        with catch_stop_signal(lambda: output.append("once")) as stop:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(stop.wait(), 5)
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.Event().wait()

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(aio.Interrupted):
        aio.run_until_signal(work())
    assert output == ["once"]
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_full_disk_behind_standard_output_is_an_error_message():
    command = [
        sys.executable,
        "-c",
        "from reconciler.cli.main import main; raise SystemExit(main(['explain']))",
    ]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 1
    assert "error: cannot write to standard output: No space left on device" in ended.stderr
    assert "defect" not in ended.stderr


async def test_what_takes_long_is_told_now_and_then_with_the_time_left(monkeypatch):
    monkeypatch.setattr(ProgressLines, "_every", 0.02)
    out = io.StringIO()
    lines = ProgressLines(Terminal(out=out, aside=out))
    lines.on_soaking("edge", 2, 90)
    lines.on_step_started(upload(1))
    await asyncio.sleep(0.05)
    lines.close()
    shown = out.getvalue().splitlines()
    assert shown[0] == "edge: wave 2 soaks for 1 min 30 s before its gates"
    assert any(line.endswith("edge-01: since 1 s") for line in shown[1:])
    lines.on_soaking("live", 1, 3600)
    await asyncio.sleep(0.05)
    lines.close()
    assert "live: wave 1 soaks, 1 h left" in out.getvalue()
