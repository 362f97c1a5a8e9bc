"""A database that is away, full, locked, without connections, or another server: nothing is sent meanwhile.

In each trial the nodes are the witness. The watch comes back by itself, and `/readyz` says what is wrong.
"""

import asyncio
import json
import re
import signal
import time
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress

import pytest
from support.postgres_servers import PostgresServer
from support.waiting import block_until, wait_until
from support.watch_process import Stage, fleet_file
from test_postgres_watch import LEASE, converge, run_command

pytestmark = pytest.mark.component("postgres", "initdb", "pg_basebackup")

OTHER_MODE = "block_new_session"


@contextmanager
def running_server(*options, **more):
    server = PostgresServer(*options, **more)
    try:
        server.start()
        yield server
    finally:
        server.close()


@asynccontextmanager
async def watching(folder, url):
    """A stage and a watch over it, of which each cluster is as desired."""
    stage = Stage(folder)
    stage.state = url
    host = {"state": str(folder / "own"), "database": {"url": url, "lease": f"{LEASE}s"}}
    (folder / "host.yaml").write_text(json.dumps(host))
    options = ("--host-config", str(folder / "host.yaml"), "--interval", "1s", "--poll", "0.3s")
    async with stage.nodes(), stage.watch(*options) as watch:
        await converge(watch)
        yield stage, watch


def commit(stage, mode):
    stage.repository.commit({"fleet.yaml": fleet_file(stage.addresses, mode)})


async def read_reasons(watch):
    """Why the watch is not ready."""
    answer = await watch.get("/readyz")
    return " ".join(answer.json()["reasons"])


async def wait_for_reason(watch, words):
    async def has_reason():
        return re.search(words, await read_reasons(watch))

    await wait_until(has_reason, every=0.2)
    assert (await watch.get("/readyz")).status_code == 503


async def wait_until_ready(watch):
    async def is_ready():
        return (await watch.get("/readyz")).status_code == 200

    await wait_until(is_ready, every=0.2)


async def wait_for_changes(stage, count):
    """Wait until nodes got so many changes, and check that no more come."""
    await wait_until(lambda: len(stage.changes()) >= count, every=0.1)
    await asyncio.sleep(3)
    nodes = stage.changes()
    assert len(nodes) == count, nodes
    assert all(nodes.count(node) == count // 3 for node in nodes), nodes


def check_no_open_steps(url):
    """Every intent has an outcome."""
    import psycopg  # noqa: PLC0415  (an extra)

    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT node, state FROM reconciler.step WHERE intended IS NOT NULL"
            " AND (state IS NULL OR state = 'unknown')"
        ).fetchall()
    assert rows == []


def is_suspended(states):
    return any(one["code"] == "suspended" for one in states["live"]["violations"])


async def test_a_database_that_is_away_for_a_minute(tmp_path):
    with running_server() as server:
        async with watching(tmp_path, server.create_database()) as (stage, watch):
            server.stop()
            commit(stage, OTHER_MODE)
            await wait_for_reason(watch, "the store cannot be written: the database .* cannot be reached")
            await asyncio.sleep(60)
            assert stage.changes() == []
            began = time.monotonic()
            server.start()
            await wait_for_changes(stage, 3)
            assert time.monotonic() - began < 30
            await wait_until_ready(watch)
            check_no_open_steps(stage.state)


async def test_a_database_whose_disk_is_full(tmp_path):
    with running_server(megabytes=120) as server:
        async with watching(tmp_path, server.create_database()) as (stage, watch):
            server.fill_disk()
            commit(stage, OTHER_MODE)
            await wait_for_reason(watch, "its disk is full")
            await asyncio.sleep(LEASE)
            sent = stage.changes()  # the pages that the tables had may have room for a few rows
            if not sent:
                server.free_disk()
            else:
                await asyncio.sleep(LEASE)
                assert stage.changes() == sent
                server.free_disk()
            await wait_for_changes(stage, 3)
            await wait_until_ready(watch)
            check_no_open_steps(stage.state)


def write_until_it_ends(server):
    import psycopg  # noqa: PLC0415  (an extra)

    with suppress(psycopg.Error):
        for _ in range(100):
            server.execute("SELECT pg_switch_wal()")
            server.execute("CREATE TABLE filling (a int)")
            server.execute("DROP TABLE filling")
    block_until(server.has_ended)


async def test_a_database_whose_disk_is_full_of_its_log(tmp_path):
    with running_server(megabytes=120) as server:
        async with watching(tmp_path, server.create_database()) as (stage, watch):
            server.fill_disk()
            # Nothing fits into the log of the server any more, which ends it; so does each start.
            await asyncio.to_thread(write_until_it_ends, server)
            commit(stage, OTHER_MODE)
            await wait_for_reason(watch, "the store cannot be written: the database")
            await asyncio.sleep(LEASE)
            assert stage.changes() == []
            server.free_disk()
            server.start()
            await wait_for_changes(stage, 3)
            await wait_until_ready(watch)
            check_no_open_steps(stage.state)


async def test_a_database_without_free_connections(tmp_path):
    import psycopg  # noqa: PLC0415  (an extra)

    with running_server("max_connections=15") as server, ExitStack() as stack:
        url = server.create_database()
        async with watching(tmp_path, url) as (stage, watch):

            def take_all():
                """The connections of the watch end, and others take their places."""
                server.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'reconcile'"
                )
                with suppress(psycopg.OperationalError):
                    while True:
                        stack.enter_context(psycopg.connect(server.url("postgres"), autocommit=True))

            await asyncio.to_thread(take_all)
            commit(stage, OTHER_MODE)
            await wait_for_reason(watch, "it accepts no more connections")
            await asyncio.sleep(2 * LEASE)
            assert stage.changes() == []
            stack.close()
            await wait_for_changes(stage, 3)
            await wait_until_ready(watch)


async def test_a_table_that_somebody_else_has_locked(tmp_path):
    import psycopg  # noqa: PLC0415  (an extra)

    with running_server() as server:
        url = server.create_database()
        async with watching(tmp_path, url) as (stage, watch):
            with psycopg.connect(url) as locker:
                locker.execute("LOCK TABLE reconciler.lease, reconciler.step IN ACCESS EXCLUSIVE MODE")
                commit(stage, OTHER_MODE)
                await watch.said("pass ended", result="failed")
                assert "another host kept it locked for 30 s" in watch.log
                assert "pg_stat_activity" in watch.log
                await asyncio.sleep(5)
                assert stage.changes() == []
            await wait_for_changes(stage, 3)
            await wait_until_ready(watch)
            check_no_open_steps(stage.state)


@contextmanager
def running_pair():
    """A primary with a standby, and the URL that names both."""
    with running_server("max_wal_senders=4") as primary:
        database = primary.create_database().rpartition("/")[2]
        with running_server(primary=primary) as standby:
            places = ",".join(f"127.0.0.1:{one.port}" for one in (primary, standby))
            yield (
                primary,
                standby,
                f"postgresql://app@{places}/{database}?target_session_attrs=read-write",
            )


def is_streaming(primary):
    return primary.execute("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == [(1,)]


async def test_a_failover_with_synchronous_replication(tmp_path):
    with running_pair() as (primary, standby, url):
        await wait_until(lambda: is_streaming(primary), every=0.1)
        primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        primary.execute("SELECT pg_reload_conf()")
        async with watching(tmp_path, url) as (stage, watch):
            commit(stage, OTHER_MODE)
            await stage.changed()
            primary.stop(signal.SIGQUIT)  # in the middle of the change
            await wait_for_reason(watch, "the store cannot be written: the database")
            begun = len(stage.changes())
            await asyncio.sleep(2 * LEASE)
            # A call whose intent was written before may still be on its way, and no other one.
            assert len(stage.changes()) <= begun + 1
            standby.execute("SELECT pg_promote()")
            await wait_for_changes(stage, 3)
            await wait_until_ready(watch)
            commit(stage, "normal")
            await wait_for_changes(stage, 6)
            assert "has lost" not in watch.log
            check_no_open_steps(stage.state)


async def test_a_failover_that_loses_commits_suspends_everything(tmp_path):
    with running_pair() as (primary, standby, url):
        await wait_until(lambda: is_streaming(primary), every=0.1)
        async with watching(tmp_path, url) as (stage, watch):
            standby.execute("ALTER SYSTEM SET primary_conninfo = ''")  # from now on it lags behind
            standby.execute("SELECT pg_reload_conf()")
            await wait_until(lambda: not is_streaming(primary), every=0.1)
            commit(stage, OTHER_MODE)
            await wait_for_changes(stage, 3)
            primary.stop(signal.SIGQUIT)
            standby.execute("SELECT pg_promote()")
            await wait_until(lambda: "more writes that it had confirmed" in watch.log, every=0.1)
            assert "reconcile status" in watch.log
            commit(stage, "normal")
            await watch.until(is_suspended)
            await asyncio.sleep(2)
            assert len(stage.changes()) == 3
            status, said = await run_command(stage, "resume")
            assert status == 0, said
            await wait_for_changes(stage, 6)
            await wait_until_ready(watch)


async def test_a_dump_that_is_restored_under_a_running_watch_suspends_everything(tmp_path):
    with running_server() as server:
        url = server.create_database()
        name = url.rpartition("/")[2]
        async with watching(tmp_path, url) as (stage, watch):
            dump = tmp_path / "state.dump"
            server.run_client("pg_dump", "--format=custom", "--schema=reconciler", f"--file={dump}", url)
            commit(stage, OTHER_MODE)
            await wait_for_changes(stage, 3)
            server.run_client("pg_restore", "--clean", "--if-exists", f"--dbname={url}", str(dump))
            await wait_until(lambda: "more writes that it had confirmed" in watch.log, every=0.1)
            commit(stage, "normal")
            await watch.until(is_suspended)
            await asyncio.sleep(2)
            assert len(stage.changes()) == 3
            assert server.execute("SELECT count(*) FROM reconciler.fact WHERE key = 'suspended'", name) == [
                (1,)
            ]
