"""A rollback beside a running watch, over real git: the watch stays where somebody went back to."""

import asyncio
import sys

from support.git_repositories import ALONE
from support.watch_process import Stage, fleet_file

BLOCKED = "block_new_session"


async def modes(stage):
    return {await stage.mode(f"live-{number}@127.0.0.1") for number in (1, 2, 3)}


async def test_a_watch_stays_at_the_revision_and_goes_on_with_a_change_of_the_cluster(tmp_path):
    stage = Stage(tmp_path)
    first, source = stage.repository.head, str(stage.repository.folder)
    async with stage.nodes(), stage.watch("--interval", "0.5s", "--poll", "0.5s") as watch:
        await watch.said("pass ended", result="converged", cluster="live")
        stage.repository.commit({"fleet.yaml": fleet_file(stage.addresses, BLOCKED)})
        await watch.said("pass ended", result="applied", cluster="live")
        await stage.run("suspend", "--reason", "it looks odd")
        told = await stage.run("rollback", first, source, "--yes", "--reason", "sessions are lost")
        assert f"this rollback pins live at {first[:12]}" in told
        assert "pins lab" not in told, "it gets the same"
        await stage.run("resume")
        after = len(watch.lines)

        readme = stage.repository.commit({"README": "no change for any node"})
        await watch.said("revision read", after=after, revision=readme[:12])
        await watch.said("pass ended", after=after, cluster="live", pinned=first[:12])
        assert await modes(stage) == {"normal"}
        assert "live is pinned" in await stage.run("status", source)
        states = await watch.states()
        assert (states["live"]["pin"]["reason"], states["lab"]["pin"]) == ("sessions are lost", None)
        assert states["live"]["revision"]["id"] == first
        metrics = (await watch.get("/metrics")).text
        assert f'reconciler_pinned_timestamp_seconds{{cluster="live",revision="{first}"}}' in metrics

        await stage.drift("live-2@127.0.0.1", BLOCKED)
        await watch.said("step ended", after=after, node="live-2@127.0.0.1", state="done")
        assert await modes(stage) == {"normal"}, "put back to the revision where it is pinned"

        text = fleet_file(stage.addresses, BLOCKED).replace("concurrency: 1", "concurrency: 2")
        only_how = stage.repository.commit({"fleet.yaml": text})
        after = len(watch.lines)
        await watch.said("revision read", revision=only_how[:12])
        await watch.said("pass ended", after=after, cluster="live")
        assert await modes(stage) == {"normal"}, "how it is changed is not what it gets"

        text = text.replace("name: live-3@127.0.0.1, ", "domain: rack-2, name: live-3@127.0.0.1, ")
        fixed = stage.repository.commit({"fleet.yaml": text})
        await watch.said("pass ended", cluster="live", revision=fixed[:12], result="applied")
        assert await modes(stage) == {BLOCKED}
        assert "is pinned" not in await stage.run("status", source)
        orders = await stage.run("history", "orders")
        assert "unpin live by" in orders


async def test_a_killed_rollback_is_finished_by_the_watch_that_starts_next(tmp_path):
    stage = Stage(tmp_path)
    first, source = stage.repository.head, str(stage.repository.folder)
    async with stage.nodes():
        await stage.run(source, "--yes")
        stage.repository.commit({"fleet.yaml": fleet_file(stage.addresses, BLOCKED)})
        await stage.run(source, "--yes")
        before = len(stage.changes())
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "reconciler.cli.main", "rollback", first, source, "--yes"),
            *("--state", str(stage.state)),
            env={**ALONE, "HOME": str(stage.folder), "PATH": "/usr/bin:/bin"},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(60):
            while len(stage.changes()) == before:
                await asyncio.sleep(0.005)
        process.kill()
        await process.wait()
        async with stage.watch("--interval", "0.5s", "--poll", "0.5s") as watch:
            await watch.said("pass ended", cluster="live", result="converged")
            assert await modes(stage) == {"normal"}
            assert (await watch.states())["live"]["pin"]["revision"] == first
