"""`reconcile allow-stop` in use: the history, releases, a watch that answers, and what a yes holds back."""

import asyncio
import json
import signal

import pytest
from support.stop_scripts import NODE, open_scripts
from support.waiting import wait_until

from reconciler.store.factory import open_store


@pytest.fixture
async def scripts(tmp_path):
    async with open_scripts(tmp_path) as found:
        yield found


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


async def test_a_watch_that_is_killed_in_the_middle_of_a_question_leaves_nothing_half_done(scripts):
    stage = scripts.stage
    async with stage.watch("--interval", "60s", "--poll", "60s") as watch:
        await watch.until(lambda states: all(one["state"] == "converged" for one in states.values()))
        await stage.simulation.fault(NODE.format(2), "slow", 20.0)
        before = len(stage.simulation.calls(NODE.format(1)))
        asked = asyncio.create_task(scripts.ask(1, "--by", "kim", source=False))
        await wait_until(lambda: len(stage.simulation.calls(NODE.format(1))) > before)
        watch.signal(signal.SIGKILL)
        await watch.ended()
        status, output = await asked
        assert status == 1, output
        assert "yes" not in output
    stage.simulation.clear()
    with open_store(stage.state) as store:
        assert await store.reservations() == ()
        assert list(await store.operations()) == []
    # Its locks went with it: the next one asks at once, and the history has one question.
    assert (await scripts.ask(2))[0] == 0
    _, history = await scripts.run("history", "operations", "--format", "json", source=False)
    assert [one["kind"] for one in json.loads(history)] == ["allow-stop"]
