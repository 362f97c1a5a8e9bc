"""A real watch tells people over real HTTP what it finds, also after a kill, and never shows an address."""

import asyncio
import signal

from support.notice_services import serve_notices
from support.waiting import wait_until
from support.watch_process import Stage, fleet_file

TOKEN, HEADER = "pl4nted-t0ken-in-the-path", "pl4nted-t0ken-in-a-header"


def write_host(stage, service, *, steady="1s", group="1s"):
    """The host configuration with one webhook, whose address has secrets in its path and in a header."""
    address = stage.folder / "address"
    address.write_text(f"json://127.0.0.1:{service.port}/{TOKEN}?+X-Token={HEADER}\n")
    address.chmod(0o600)
    host = stage.folder / "host.yaml"
    host.write_text(
        "notifications:\n  url: https://reconciler.example.com\n"
        f"  recipients: {{ops: {{addresses: [{address}], group: {group}, limit: 1000}}}}\n"
        f"  rules: [{{recipients: [ops]}}]\n  steady: {steady}\n"
    )
    host.chmod(0o600)
    return ("--host-config", str(host), "--poll", "0.3s", "--interval", "2s")


async def told(service, words):
    """The first message with these words."""

    def find():
        return next((one for one in service.messages if words in "\n".join(one)), None)

    return await wait_until(find)


def assert_no_address(stage, *texts):
    files = [file for file in stage.state.rglob("*") if file.is_file()]
    assert files
    for found in (*texts, *(file.read_bytes().decode("latin-1") for file in files)):
        assert TOKEN not in found
        assert HEADER not in found


async def test_people_are_told_what_begins_and_what_is_over(tmp_path):
    stage = Stage(tmp_path)
    with serve_notices() as service:
        async with stage.nodes(), stage.watch(*write_host(stage, service)) as watch:
            await watch.until(lambda states: all(one["state"] == "converged" for one in states.values()))
            await stage.run("suspend", "lab", "--reason", "<!channel> a fire")
            subject, body = await told(service, "changes are suspended")
            assert subject == "(info) lab: changes are suspended"
            assert "!channel" in body
            assert "<" not in body
            assert "https://reconciler.example.com/clusters/lab" in body
            good = fleet_file(stage.addresses)
            stage.repository.commit({"fleet.yaml": "clusters: 1\n"})
            await told(service, "cannot be used")
            stage.repository.commit({"fleet.yaml": good})
            await told(service, "is in use")
            await stage.drift("live-1@127.0.0.1")
            await told(service, "live: changed behind our back: live-1")
            await told(service, "live: no node differs")
            state = (await watch.get("/readyz")).json()["notifications"]
            assert [(one["problem"], one["given_up"]) for one in state] == [(None, 0)]
            shown = [(await watch.get(path)).text for path in ("/readyz", "/metrics")]
            assert "reconciler_notices_waiting" in shown[1]
            await asyncio.sleep(2)
        assert_no_address(stage, watch.log, *shown)
        lines = [line for _, body in service.messages for line in body.splitlines() if line.startswith("(")]
        assert len(lines) == len(set(lines)), "a state was told twice"


async def test_what_was_not_delivered_survives_a_kill(tmp_path):
    stage = Stage(tmp_path)
    with serve_notices() as service:
        options = write_host(stage, service)
        async with stage.nodes():
            async with stage.watch(*options) as watch:
                await watch.until(lambda states: all(one["state"] == "converged" for one in states.values()))
                service.delay = 60.0
                await stage.run("suspend", "lab", "--reason", "a fire")
                await asyncio.sleep(3)  # it is being sent, or waits for that
                watch.signal(signal.SIGKILL)
                await watch.ended()
            service.delay = 0.0
            async with stage.watch(*options) as watch:
                await told(service, "changes are suspended")


async def test_a_service_that_refuses_is_named_without_its_address(tmp_path):
    stage = Stage(tmp_path)
    with serve_notices() as service:
        service.statuses = [500] * 100
        async with stage.nodes(), stage.watch(*write_host(stage, service)) as watch:
            await watch.until(lambda states: all(one["state"] == "converged" for one in states.values()))
            await stage.run("suspend", "lab", "--reason", "a fire")
            line = await watch.said("notices not delivered")
            assert line["message"] == "the service answered 500"

            async def find_problem():
                (state,) = (await watch.get("/readyz")).json()["notifications"]
                return state if state["problem"] and state["waiting"] else None

            await wait_until(find_problem)
            assert (await watch.get("/readyz")).json()["ready"]
            assert 'reconciler_notices_failing{address="ops ' in (await watch.get("/metrics")).text
        assert_no_address(stage, watch.log)
