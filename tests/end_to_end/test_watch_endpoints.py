"""The endpoints of a real watch under limits: floods, few open files, random ends."""

import asyncio
import json
from contextlib import AsyncExitStack

from support.watch_process import Stage, fleet_file, told, unread_watch

LIVE = "live-1@127.0.0.1"


async def idle(stack, client):
    """A connection that says nothing."""
    reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    stack.callback(writer.close)
    return reader, writer


async def test_with_few_open_files_and_many_connections_the_work_goes_on_and_the_log_stays_small(stage):
    shell = ("sh", "-c", 'ulimit -n 128; exec "$@"', "sh")
    path = stage.folder / "log"
    with path.open("w") as log:
        async with unread_watch(stage, log, shell) as (client, _process), AsyncExitStack() as stack:
            await told(client, lambda found: found["ready"])
            await asyncio.gather(*(idle(stack, client) for _ in range(400)))
            assert (await client.get("/healthz")).status_code == 200
            stage.repository.commit({"fleet.yaml": fleet_file(stage.addresses, "block_new_session")})
            head = stage.repository.head
            await told(
                client,
                lambda found: any(
                    one["revision"] and one["revision"]["id"] == head and one["state"] == "converged"
                    for one in found["clusters"]
                    if one["cluster"] == "live"
                ),
            )
            assert await stage.mode(LIVE) == "block_new_session"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(path.read_text()) < 50_000
    assert [line["event"] for line in lines][-1] == "watch stopped"


async def test_a_watch_without_a_server_for_nodes_says_so(tmp_path):
    stage = Stage(tmp_path)
    polled = {
        "clusters": [
            {
                "name": "edge",
                "kind": "m2",
                "setting": "s.json",
                "deliver": "poll",
                "poll": {"server": "https://reconciler.example.com"},
                "nodes": [{"name": "n1"}],
            }
        ]
    }
    stage.repository.commit({"fleet.yaml": json.dumps(polled), "s.json": "{}"})
    async with stage.watch("--poll", "0.3s") as watch:
        assert (await watch.said("nodes cannot call this watch"))["clusters"] == ["edge"]
        assert (await watch.get("/nodes/openapi.json")).status_code == 404
