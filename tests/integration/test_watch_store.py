"""A watch whose state folder goes away sends nothing, says why, and goes on once it is back."""

import asyncio
import shutil

import pytest
from support.watch_process import Stage, fleet_file, told, unread_watch

LIVE = "live-1@127.0.0.1"


@pytest.fixture
async def stage(tmp_path):
    stage = Stage(tmp_path)
    async with stage.nodes():
        yield stage


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


async def told_unwritable(stage, client, before):
    """Wait until the watch says that its store is gone, and for a few passes more: nothing is sent."""
    found = await told(client, lambda found: not found["store"]["writable"])
    assert found["ready"] is False
    assert "while it was in use" in found["store"]["problem"]
    await asyncio.sleep(1)  # several passes of an interval of 0.3 s
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
