"""`reconcile allow-stop` by the entry point: scripts that ask at once, and an answer for programs."""

import asyncio
import json

import pytest
from support.stop_scripts import NODE, open_scripts


@pytest.fixture
async def scripts(tmp_path):
    async with open_scripts(tmp_path) as found:
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


async def test_an_answer_as_json(scripts):
    status, output = await scripts.ask(1, "--format", "json", "--for", "2h")
    answer = json.loads(output[output.index("{") :])
    assert (status, answer["exit_status"], answer["answer"]) == (0, 0, "yes")
    assert (answer["cluster"], answer["node"]) == ("live", NODE.format(1))
    assert any("owns" in fact for fact in answer["facts"])
    assert answer["until"]


async def test_without_a_history_it_says_where_to_ask(scripts, tmp_path):
    status, output = await scripts.ask(1, state=tmp_path / "other")
    assert status == 1
    assert "run the command on the management host" in output
