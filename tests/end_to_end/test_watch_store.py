"""A watch whose state folder goes away sends nothing, says why, and goes on once it is back."""

import shutil

from support.waiting import wait_until
from support.watch_process import fleet_file, told, unread_watch

LIVE = "live-1@127.0.0.1"


def is_converged(found):
    return found["ready"] and {one["state"] for one in found["clusters"]} == {"converged"}


def put_back(away, state):
    """Move the folder back; the copies of sources may have been made anew in its place."""
    while True:
        shutil.rmtree(state, ignore_errors=True)
        try:
            return away.rename(state)
        except OSError:
            continue


async def count_passes(client):
    rows = (await client.get("/metrics")).text.splitlines()
    return sum(float(row.split()[-1]) for row in rows if row.startswith("reconciler_passes_total{"))


async def told_unwritable(stage, client, before):
    """Wait until the watch says that its store is gone, and for a few passes more: nothing is sent."""
    found = await told(client, lambda found: not found["store"]["writable"])
    assert found["ready"] is False
    assert "while it was in use" in found["store"]["problem"]
    begun = await count_passes(client)

    async def have_more_passes_ended():
        return await count_passes(client) >= begun + 3

    await wait_until(have_more_passes_ended, every=0.05)
    assert stage.changes() == before


async def test_nothing_is_sent_without_a_record_and_it_goes_on_once_the_folder_is_back(stage):
    log, away = stage.folder / "log", stage.folder / "away"
    with log.open("w") as stream:
        async with unread_watch(stage, stream) as (client, _process):
            await told(client, is_converged)
            stage.state.rename(away)
            stage.repository.commit({"fleet.yaml": fleet_file(stage.addresses, "block_new_session")})
            await told_unwritable(stage, client, [])
            assert not (stage.state / "state.sqlite").exists()
            put_back(away, stage.state)
            await told(client, is_converged)
            assert await stage.mode(LIVE) == "block_new_session"
            before = stage.changes()
            shutil.copytree(stage.state, away, ignore=shutil.ignore_patterns("*.socket"))
            put_back(away, stage.state)  # another file under the same name
            stage.repository.commit({"fleet.yaml": fleet_file(stage.addresses)}, "Back")
            await told_unwritable(stage, client, before)
    assert "Traceback" not in log.read_text()
