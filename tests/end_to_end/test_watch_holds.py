"""A real watch and nodes that a person holds: the end of a hold wakes it, and a new hold stops it."""

from datetime import UTC, datetime, timedelta

from support.m2_settings import managed_setting
from support.watch_process import m2_fleet, make_m2_stage

SLOW = "    rollout: {waves: [1, 1, 1], soak: 2s}\n"


def setting(version):
    return {"plain.json": managed_setting("one.example", version=version)}


async def test_the_end_of_a_hold_wakes_the_watch(tmp_path):
    stage = make_m2_stage(tmp_path, setting("1"))
    async with stage.nodes(), stage.watch("--interval", "1h", "--poll", "0.5s") as watch:
        await watch.said("pass ended", result="converged")
        await stage.run("hold", "n1", "--until", "8s", "--reason", "the card is replaced")
        stage.repository.commit(setting("2"))
        await watch.said("step ended", node="n2", state="done")
        assert sorted(stage.changes()) == ["n0", "n2"]
        state = (await watch.until(lambda states: states["edge"]["held_nodes"] == ["n1"]))["edge"]
        assert state["state"] != "converged"
        done = await watch.said("step ended", node="n1", state="done")
        began = next(line for line in watch.lines if line.get("run") == done["run"])
        ended = await watch.said("pass ended", run=done["run"])
        assert ended["trigger"] == "hold-ends"
        assert began["event"] == "step started"
        await watch.until(lambda states: states["edge"]["state"] == "converged")


async def test_a_hold_that_is_committed_during_a_run_is_seen_before_its_next_wave(tmp_path):
    stage = make_m2_stage(tmp_path, setting("1"), rules=SLOW)
    async with stage.nodes(), stage.watch("--interval", "2s", "--poll", "0.3s") as watch:
        await watch.said("pass ended", result="converged")
        stage.repository.commit(setting("2"))
        await watch.said("step ended", node="n0", state="done")
        until = (datetime.now(UTC) + timedelta(days=9)).date()
        hold = f", hold: {{until: {until}, reason: the card is replaced}}"
        held = stage.repository.commit({"fleet.yaml": m2_fleet(stage.addresses, {1: hold}, SLOW)})
        await watch.said("revision read", revision=held[:12])
        await watch.said("step ended", node="n2", state="done")
        await watch.until(lambda states: states["edge"]["held_nodes"] == ["n1"])
        assert stage.changes() == ["n0", "n2"]


async def test_a_hold_by_command_is_seen_before_the_next_step_of_a_run(tmp_path):
    stage = make_m2_stage(tmp_path, setting("1"), rules=SLOW.replace("2s", "5s"))
    async with stage.nodes(), stage.watch("--interval", "2s", "--poll", "0.3s") as watch:
        await watch.said("pass ended", result="converged")
        stage.repository.commit(setting("2"))
        await watch.said("step ended", node="n0", state="done")
        await stage.run("hold", "n2", "--until", "1h", "--reason", "the card is replaced")
        await watch.said("step ended", node="n1", state="done")
        await watch.said("step ended", node="n2", state="skipped")
        assert stage.changes() == ["n0", "n1"]
