"""`reconcile allow-stop` by the entry point: scripts that ask at once, a watch, and what a yes holds back."""

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest
from support.git_repositories import ALONE
from support.watch_process import Stage

NODE = "live-{}@127.0.0.1"


class Scripts:
    """Commands in processes of their own, as scripts start them."""

    def __init__(self, stage):
        self.stage = stage

    async def run(self, *arguments, source=True, state=None):
        command = [sys.executable, "-m", "reconciler.cli.main", *arguments]
        command += ["--state", str(state or self.stage.state)]
        command += ["--source", str(self.stage.repository.folder)] if source else []
        environment = {**os.environ, **ALONE, "HOME": str(self.stage.folder), "NO_COLOR": "1"}
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environment,
            cwd=self.stage.folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(process.communicate(), 90)
        return process.returncode, output.decode()

    async def ask(self, number, *options, **more):
        return await self.run("allow-stop", NODE.format(number), *options, **more)

    async def apply(self):
        return await self.run(str(self.stage.repository.folder), "--yes", source=False)


@pytest.fixture
async def scripts(tmp_path):
    stage = Stage(tmp_path)
    async with stage.nodes():
        found = Scripts(stage)
        status, output = await found.apply()
        assert status == 0, output
        yield found


async def test_of_two_scripts_at_once_exactly_one_gets_a_yes(scripts):
    answers = await asyncio.gather(scripts.ask(1), scripts.ask(2))
    assert sorted(status for status, _ in answers) == [0, 6], answers
    no = next(output for status, output in answers if status == 6)
    assert "the majority would be lost (1 of 3 regular nodes connected, majority 2)" in no
    assert "is reserved until" in no
    yes = next(output for status, output in answers if status == 0)
    assert "may be stopped now" in yes
    assert "one more failure would lose the majority" in yes


async def test_the_history_has_each_question_with_who_asked_and_why(scripts):
    await scripts.ask(1, "--reason", "new memory", "--by", "kim")
    await scripts.ask(2)
    status, output = await scripts.run("history", "operations", source=False)
    assert status == 0
    assert f"allow-stop {NODE.format(1)}" in output
    assert [line.rsplit(maxsplit=1)[-1] for line in output.splitlines()[1:]] == ["no", "yes"]
    status, output = await scripts.run("history", "operations", "--format", "json", source=False)
    first = json.loads(output)[-1]
    assert (first["kind"], first["actor"]["claim"], first["actor"]["why"]) == (
        "allow-stop",
        "kim",
        "new memory",
    )
    status, output = await scripts.run("history", "show", first["id"], source=False)
    assert "yes" in output
    assert "new memory" in output


async def test_a_release_makes_room_for_the_next_and_a_second_one_does_nothing(scripts):
    assert (await scripts.ask(1))[0] == 0
    assert (await scripts.ask(1))[0] == 6
    status, output = await scripts.ask(1, "--release")
    assert (status, "released" in output) == (0, True)
    status, output = await scripts.ask(1, "--release")
    assert (status, "no reservation of it" in output) == (0, True)
    assert (await scripts.ask(2))[0] == 0


async def test_an_answer_as_json(scripts):
    status, output = await scripts.ask(1, "--format", "json", "--for", "2h")
    answer = json.loads(output[output.index("{") :])
    assert (status, answer["exit_status"], answer["answer"]) == (0, 0, "yes")
    assert (answer["cluster"], answer["node"]) == ("live", NODE.format(1))
    assert any("owns" in fact for fact in answer["facts"])
    assert answer["until"]


async def test_nothing_is_begun_on_a_reserved_node_and_the_plan_says_who_reserved_it(scripts):
    await scripts.ask(1, "--by", "kim", "--reason", "new memory")
    await scripts.stage.drift(NODE.format(1))
    await scripts.stage.drift(NODE.format(2))
    before = scripts.stage.changes()
    status, output = await scripts.apply()
    assert "node-reserved" in output
    assert "kim" in output
    assert "new memory" in output
    assert scripts.stage.changes()[len(before) :] == [NODE.format(2)], output
    assert status != 0
    status, output = await scripts.run("status", str(scripts.stage.repository.folder), source=False)
    assert "reserved until" in output
    await scripts.ask(1, "--release")
    status, output = await scripts.apply()
    assert (status, await scripts.stage.mode(NODE.format(1))) == (0, "normal"), output


async def test_a_node_that_nobody_knows_and_a_hostile_name(scripts):
    for name in ("nobody", "\x1b]0;x\x07$(reboot)", "../../etc/shadow", "n" * 5000):
        status, output = await scripts.run("allow-stop", "--", name)
        assert status == 1, output
        assert "\x1b" not in output
    status, output = await scripts.ask(1, "--for", "5s")
    assert (status, "1 minute to 24 hours" in output) == (1, True)


async def test_without_a_history_it_says_where_to_ask(scripts, tmp_path):
    status, output = await scripts.ask(1, state=tmp_path / "other")
    assert status == 1
    assert "run the command on the management host" in output


async def test_a_running_watch_answers_and_a_killed_one_leaves_what_it_answered(scripts):
    stage = scripts.stage
    async with stage.watch("--interval", "0.5s", "--poll", "0.5s") as watch:
        await watch.until(lambda states: all(one.get("succeeded") for one in states.values()) or states)
        answers = await asyncio.gather(*(scripts.ask(number, source=False) for number in (1, 2, 3)))
        assert sorted(status for status, _ in answers) == [0, 6, 6], (answers, watch.log)
        await watch.said("question answered", answer="yes")
        watch.signal(signal.SIGKILL)
        await watch.ended()
    assert sorted([status for status, _ in [await scripts.ask(number) for number in (1, 2, 3)]]) == [6, 6, 6]
