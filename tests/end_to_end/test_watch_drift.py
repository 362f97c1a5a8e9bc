"""A watch that only reports drift: it leaves nodes as they are until a commit changes them."""

from support.watch_process import Stage, fleet_file

BLOCKED = "block_new_session"
NODE = "live-2@127.0.0.1"


def reporting(stage, mode="normal"):
    return {"fleet.yaml": f"drift: report\n{fleet_file(stage.addresses, mode)}"}


async def test_a_watch_leaves_drift_and_tells_it_until_a_commit_changes_the_cluster(tmp_path):
    stage = Stage(tmp_path)
    stage.repository.commit(reporting(stage))
    async with stage.nodes(), stage.watch("--interval", "0.5s", "--poll", "0.5s") as watch:
        await watch.said("pass ended", result="converged", cluster="live")
        before = len(stage.changes())
        await stage.drift(NODE, BLOCKED)
        states = await watch.until(lambda states: states["live"]["state"] == "drift")
        (drift,) = states["live"]["drift"]
        assert (drift["node"], drift["only_reported"]) == (NODE, True)
        states = await watch.until(lambda states: states["live"]["drift"][0]["since"])
        assert len(stage.changes()) == before + 1, "only the change by hand"
        metrics = (await watch.get("/metrics")).text
        assert 'reconciler_drifted_nodes{cluster="live"} 1.0' in metrics
        assert 'reconciler_drifted_nodes{cluster="lab"} 0.0' in metrics
        stage.repository.commit(reporting(stage, BLOCKED))
        await watch.until(lambda states: not states["live"]["drift"])
        await watch.said("pass ended", result="applied", cluster="live")
        assert await stage.mode(NODE) == BLOCKED
        assert await stage.mode("live-1@127.0.0.1") == BLOCKED
