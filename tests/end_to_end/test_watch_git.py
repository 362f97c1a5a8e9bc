"""`reconcile watch` as a process: a real repository, simulated nodes over HTTP, signals, the webhook."""

import hashlib
import hmac
import json
import signal

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.waiting import wait_until
from support.watch_process import fleet_file

LIVE = [f"live-{number}@127.0.0.1" for number in (1, 2, 3)]
SECRET = "s3cret"


def remote(stage):
    return f"file://{stage.repository.folder}"


def all_are(state, clusters=("lab", "live")):
    return lambda states: (
        {name: one["state"] for name, one in states.items()} == dict.fromkeys(clusters, state)
    )


def push(ref="refs/heads/main", secret=SECRET):
    body = json.dumps({"ref": ref, "repository": {"default_branch": "main"}}).encode()
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return body, {"x-github-event": "push", "x-hub-signature-256": f"sha256={digest}"}


class Figures:
    """A scrape of /metrics: a metric's name and its labels' values, in any order, give its figure."""

    def __init__(self, text):
        self._found = {
            (sample.name, frozenset(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def __call__(self, name, *values):
        return self._found.get((f"reconciler_{name}", frozenset(values)), 0)


async def test_drift_is_repaired_after_the_interval_and_a_commit_after_the_poll(stage):
    async with stage.watch("--interval", "0.5s", "--poll", "0.5s", source=remote(stage)) as watch:
        await watch.until(all_are("converged"))
        assert stage.changes() == []
        assert (await watch.get("/healthz")).status_code == 200
        assert (await watch.get("/readyz")).status_code == 200

        await stage.drift(LIVE[1])
        ended = await watch.said("step ended", node=LIVE[1])
        assert (ended["state"], ended["cluster"]) == ("done", "live")
        assert await stage.mode(LIVE[1]) == "normal"
        assert ended["run"] == (await watch.said("pass ended", result="applied"))["run"]

        commit = stage.repository.commit({"fleet.yaml": fleet_file(stage.addresses, "block_new_session")})
        assert (await watch.said("revision read", trigger="poll"))["revision"] == commit[:12]
        await watch.until(
            lambda states: all_are("converged")(states) and states["live"]["revision"]["id"] == commit
        )
        assert [await stage.mode(node) for node in LIVE] == ["block_new_session"] * 3

        served = Figures((await watch.get("/metrics")).text)
        assert served("steps_total", "done", "live", "mode") == 4
        assert served("pending_steps", "live") == 0
        assert served("nodes", "live", "present") == 3
        assert served("cluster_revision_info", "live", commit) == 1
        assert served("source_looks_total", "new") == 2
        watch.signal()
        assert await watch.ended() == 0
    assert [line["event"] for line in watch.lines][-1] == "watch stopped"
    assert [line for line in watch.lines if not {"timestamp", "level", "event"} <= line.keys()] == []


async def test_a_believed_webhook_brings_the_commit_long_before_the_poll(stage):
    options = ("--interval", "1h", "--poll", "1h", "--ref", "main")
    async with stage.watch(*options, source=remote(stage), secret=SECRET) as watch:
        await watch.until(all_are("converged"))
        stage.repository.commit({"fleet.yaml": fleet_file(stage.addresses, "block_new_session")})

        for secret, ref, status in [("wrong", "refs/heads/main", 401), (SECRET, "refs/heads/wip", 200)]:
            body, headers = push(ref, secret)
            assert (await watch.client.post("/webhook", content=body, headers=headers)).status_code == status
        assert [line for line in watch.lines if line.get("trigger") == "webhook"] == []

        body, headers = push()
        for _ in range(5):
            assert (await watch.client.post("/webhook", content=body, headers=headers)).status_code == 202
        await watch.said("pass ended", cluster="live", result="applied", trigger="webhook")
        assert await stage.mode(LIVE[0]) == "block_new_session"
        served = Figures((await watch.get("/metrics")).text)
        assert served("triggers_total", "webhook") == 5
        assert served("source_looks_total", "new") == 2
        assert served("webhook_rejects_total", "bad-signature") == 1
    assert SECRET not in watch.log


async def test_sigterm_in_the_middle_finishes_the_step_under_way_and_begins_no_other(stage):
    stage.repository.commit({"fleet.yaml": fleet_file(stage.addresses, "block_new_session")})
    for node in LIVE:
        await stage.simulation.fault(node, "slow", 1, on="changes")
    async with stage.watch("--interval", "1h", source=remote(stage)) as watch:
        first = (await watch.said("step started"))["node"]
        await stage.changed()
        watch.signal()
        assert (await watch.said("watch stopping"))["under_way"]["live"].startswith("live/")
        told = await watch.get("/readyz")
        assert (told.status_code, told.json()["reasons"][0]) == (503, "the watch is stopping")
        assert await watch.ended() == 0
    assert stage.changes() == [first]
    ends = {line["node"]: line["state"] for line in watch.lines if line["event"] == "step ended"}
    assert ends == {node: "done" if node == first else "skipped" for node in LIVE}
    assert "left" not in watch.lines[-1]
    assert await stage.mode(first) == "block_new_session"


@pytest.mark.parametrize("end", ["a second signal", "SIGKILL"])
async def test_cut_off_in_the_middle_the_next_start_settles_what_is_left_and_does_nothing_twice(stage, end):
    stage.repository.commit({"fleet.yaml": fleet_file(stage.addresses, "block_new_session")})
    for node in LIVE:
        await stage.simulation.fault(node, "slow", 8, on="changes", count=1)
    async with stage.watch("--interval", "1h", source=remote(stage)) as watch:
        first = await watch.said("step started")
        await stage.changed()
        if end == "SIGKILL":
            watch.signal(signal.SIGKILL)
            assert await watch.ended() == -signal.SIGKILL
        else:
            watch.signal()
            await watch.said("watch stopping")
            watch.signal(signal.SIGINT)
            assert await watch.ended() == 5
            assert watch.lines[-1]["event"] == "watch aborted"
            assert watch.lines[-1]["left"] == [first["step"]]
    stage.simulation.clear()
    async with stage.watch("--interval", "0.5s", source=remote(stage)) as watch:
        settled = await watch.said("step settled")
        assert (settled["step"], settled["state"]) == (first["step"], "done")
        await watch.until(all_are("converged"))
    assert sorted(stage.changes()) == LIVE  # each exactly once, over both lives


async def test_a_dry_run_reports_drift_and_writes_nothing(stage):
    stage.repository.commit({"fleet.yaml": fleet_file(stage.addresses, "block_new_session")})
    async with stage.watch("--dry-run", "--interval", "0.3s", source=remote(stage)) as watch:
        drift = {"lab": "converged", "live": "drift"}
        states = await watch.until(lambda states: {name: states[name]["state"] for name in states} == drift)
        assert states["live"]["pending"] == 3
        told = (await watch.get("/readyz")).json()
        assert (told["ready"], told["dry_run"]) == (True, True)
        await watch.until(lambda states: states["live"]["last_pass"] != told["clusters"][1]["last_pass"])
        assert Figures((await watch.get("/metrics")).text)("pending_steps", "live") == 3
    assert stage.changes() == []
    assert not (stage.state / "state.sqlite").exists()
    assert (
        len([line for line in watch.lines if line["event"] == "pass ended" and line["cluster"] == "live"])
        == 1
    )


async def test_a_bad_commit_touches_nothing_and_the_last_good_one_stays_in_force(stage):
    good = stage.repository.head
    async with stage.watch("--interval", "0.5s", "--poll", "0.5s", source=remote(stage)) as watch:
        await watch.until(all_are("converged"))
        text = fleet_file(stage.addresses, "block_new_session").replace("kind: sora", "kind: sorra", 1)
        bad = stage.repository.commit({"fleet.yaml": text})
        refused = await watch.said("desired state rejected")
        assert refused["message"].startswith("fleet.yaml:3:")
        assert (refused["revision_in_use"], refused["rejected"]) == (good[:12], bad[:12])
        told = (await watch.get("/readyz")).json()
        assert (told["ready"], told["source"]["state"], told["source"]["rejected"]) == (True, "invalid", bad)

        await stage.drift(LIVE[0])
        await watch.said("step ended", node=LIVE[0], state="done")
        assert await stage.mode(LIVE[0]) == "normal"

        stage.repository.commit({"fleet.yaml": fleet_file(stage.addresses)}, "Revert")
        await watch.said("source recovered")
    assert len([line for line in watch.lines if line["event"] == "desired state rejected"]) == 1


async def test_a_repository_that_goes_away_is_seen_and_drift_is_repaired_all_the_same(stage):
    async with stage.watch("--interval", "0.5s", "--poll", "0.5s", source=remote(stage)) as watch:
        await watch.until(all_are("converged"))
        away = stage.repository.folder.rename(stage.folder / "away")
        await watch.said("source failed")
        await stage.drift(LIVE[2])
        await watch.said("step ended", node=LIVE[2], state="done")
        assert (await watch.get("/healthz")).status_code == 200
        away.rename(stage.repository.folder)
        await watch.said("source recovered")


async def test_a_dead_node_in_one_cluster_holds_up_no_other(stage):
    async with stage.watch("--interval", "0.5s", source=remote(stage)) as watch:
        await watch.until(all_are("converged"))
        await stage.simulation.fault(LIVE[0], "silent", on="any")
        before = len(watch.lines)
        await stage.drift("lab-1@127.0.0.1")
        await watch.said("step ended", after=before, cluster="lab", state="done")
        assert [line for line in watch.lines[before:] if line.get("cluster") == "live"] == []
        stage.simulation.clear()


async def test_a_refused_plan_is_told_once_and_visible_everywhere(stage):
    text = fleet_file(stage.addresses, "block_new_session").replace("'100%'", "'34%', max_changed: '1'")
    stage.repository.commit({"fleet.yaml": text})
    async with stage.watch("--interval", "0.3s", source=remote(stage)) as watch:
        states = await watch.until(lambda states: states.get("live", {}).get("state") == "refused")
        codes = {violation["code"] for violation in states["live"]["violations"]}
        assert "blast-radius" in codes
        served = Figures((await watch.get("/metrics")).text)
        assert served("violations", "blast-radius", "live") == 1
        count = served("passes_total", "live", "refused") + 2

        async def were_refused():
            return Figures((await watch.get("/metrics")).text)("passes_total", "live", "refused") >= count

        await wait_until(were_refused, every=0.05)
    assert len([line for line in watch.lines if line["event"] == "plan refused"]) == len(
        states["live"]["violations"]
    )
    assert stage.changes() == []
