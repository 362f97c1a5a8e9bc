"""The rows and jobs of shared passes in a real database, with hosts that write at once, and lost jobs."""

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
from support.postgres_servers import PostgresServer
from support.waiting import wait_until

from reconciler.ports.pass_queue import NextPass
from reconciler.store.factory import open_store
from reconciler.store.postgres.access import HostIdentity, PostgresAccess
from reconciler.store.postgres.address import PostgresAddress
from reconciler.store.postgres.job_tables import prepare_job_tables, select_files

pytestmark = pytest.mark.component("postgres", "initdb")

HOUR = NextPass(3600.0, "interval")


@pytest.fixture(scope="module")
def server():
    found = PostgresServer()
    found.start()
    yield found
    found.close()


@pytest.fixture
def access(server, tmp_path):
    return PostgresAccess(
        PostgresAddress(server.create_database()), tmp_path / "host.key", HostIdentity("one", {}), lease=5.0
    )


@pytest.fixture
def queues(access):
    """Queues of two processes."""
    with open_store(access) as first, open_store(access) as second:
        yield first.open_pass_queue("all"), second.open_pass_queue("all")


async def test_of_two_hosts_that_read_one_revision_one_makes_it_the_target(queues):
    for former, revision in (("", "a"), ("a", "b"), ("b", "c")):
        won = await asyncio.gather(
            *(one.publish(revision, {"edge": "1"}, "poll", instead_of=former) for one in queues)
        )
        assert sorted(won) == [False, True]
    found = await queues[0].read()
    assert (found.target, [one.cluster for one in found.clusters]) == ("c", ["edge"])


async def test_a_pass_begins_once_when_it_is_due_and_its_end_is_known_to_all(queues):
    first, second = queues
    await first.publish("a", {"edge": "1", "lab": "1"}, "webhook", instead_of="")
    begun = await first.begin("edge")
    assert (begun.cause, begun.target) == ("webhook", "a")
    await first.note({"edge": (begun.number, "observing 3 nodes"), "lab": (7, "not its pass")})
    found = {one.cluster: one.doing for one in (await second.read()).clusters}
    assert found == {"edge": "observing 3 nodes", "lab": "idle"}
    await first.end(begun, "the status", HOUR)
    assert await second.begin("edge") is None
    known = next(one for one in (await second.read()).clusters if one.cluster == "edge")
    assert (known.status, known.doing) == ("the status", "idle")
    assert known.due == pytest.approx(time.time() + 3600, abs=60)
    assert await second.begin("unknown") is None


async def test_a_request_during_a_pass_makes_another_one_due_after_it(queues):
    first, second = queues
    await first.publish("a", {"edge": "1"}, "start", instead_of="")
    begun = await first.begin("edge")
    await second.request(["edge"], "request")
    await first.end(begun, "x", HOUR)
    again = await second.begin("edge")
    assert (again.cause, again.number) == ("request", begun.number + 1)
    await second.end(again, "", HOUR)
    assert await first.begin("edge") is None
    assert (await first.read()).clusters[0].status == "x", "an empty status keeps the former one"


async def test_the_end_of_a_pass_that_was_given_up_changes_nothing(queues):
    first, second = queues
    await first.publish("a", {"edge": "1"}, "start", instead_of="")
    frozen = await first.begin("edge")
    successor = await second.begin("edge")
    await second.end(successor, "of the successor", HOUR)
    await first.end(frozen, "too late", NextPass(0.0, "retry"))
    assert (await first.read()).clusters[0].status == "of the successor"
    assert await first.begin("edge") is None


async def test_a_revision_that_does_not_change_a_cluster_leaves_its_moment_alone(queues):
    first, second = queues
    await first.publish("a", {"edge": "1", "lab": "1", "live": "1"}, "start", instead_of="")
    for name in ("edge", "lab", "live"):
        await first.end(await first.begin(name), "x", HOUR, "1")
    assert not any(one.is_outdated for one in (await second.read()).clusters)
    await second.publish("b", {"edge": "1", "lab": "2", "live": "1"}, "poll", instead_of="a", due=["live"])
    found = {
        one.cluster: (one.due < time.time() + 60, one.is_outdated) for one in (await first.read()).clusters
    }
    assert found == {"edge": (False, False), "lab": (True, True), "live": (True, False)}
    begun = await first.begin("lab")
    await second.publish("c", {"edge": "2", "lab": "2", "live": "1"}, "poll", instead_of="b")
    await first.end(begun, "x", HOUR, "2")
    assert await first.begin("lab") is None, "the revision that came meanwhile has nothing new for it"
    known = {one.cluster: one for one in (await second.read()).clusters}
    assert (known["edge"].is_outdated, known["lab"].is_outdated) == (True, False)
    assert known["lab"].input == second.key_input("2") != "2"


async def test_digests_of_another_revision_than_the_target_do_not_count(queues, access, server):
    first, second = queues
    await first.publish("a", {"edge": "1"}, "start", instead_of="")
    await first.end(await first.begin("edge"), "x", HOUR, "1")
    # A host of the former version changes the target, and knows nothing of the digests.
    server.execute("UPDATE reconciler.pass_queue SET target = 'b'", access.address.url.rpartition("/")[2])
    await second.publish("c", {"edge": "1"}, "poll", instead_of="b")
    assert await second.begin("edge") is not None


async def test_a_cluster_that_comes_back_gets_higher_numbers_than_before(queues):
    first, second = queues
    await first.publish("a", {"edge": "1", "lab": "1"}, "start", instead_of="")
    frozen = await first.begin("edge")
    await second.publish("b", {"lab": "1"}, "poll", instead_of="a")
    await second.publish("c", {"edge": "1", "lab": "1"}, "poll", instead_of="b")
    successor = await second.begin("edge")
    assert successor.number > frozen.number
    await first.end(frozen, "too late", HOUR)
    await second.end(successor, "of the successor", HOUR)
    assert {one.status for one in (await first.read()).clusters if one.cluster == "edge"} == {
        "of the successor"
    }


async def test_clusters_that_leave_the_fleet_are_forgotten(queues):
    first, second = queues
    await first.publish("a", {"edge": "1", "lab": "1"}, "start", instead_of="")
    await second.publish("b", {"lab": "1"}, "poll", instead_of="a")
    assert [one.cluster for one in (await first.read()).clusters] == ["lab"]
    assert await first.begin("edge") is None


async def test_only_what_changed_since_a_moment_is_read(queues):
    first, _ = queues
    await first.publish("a", {"edge": "1"}, "start", instead_of="")
    at = (await first.read()).at
    assert [one.cluster for one in (await first.read(at)).clusters] == ["edge"], "a little is read again"
    assert (await first.read(at + 3600)).clusters == []
    assert (await first.read(at + 3600)).target == "a"


@asynccontextmanager
async def serving(queue, run):
    ready = asyncio.Event()
    task = asyncio.create_task(queue.serve(run, 4, ready.set))
    async with asyncio.timeout(30):
        await ready.wait()
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_each_pass_that_is_due_is_run_by_one_host_and_jobs_leave_nothing_behind(queues, access, server):
    run = []

    def make_runner(queue):
        async def run_pass(cluster):
            begun = await queue.begin(cluster)
            if begun is not None:
                run.append(cluster)
                await asyncio.sleep(0.05)
                await queue.end(begun, "x", HOUR)

        return run_pass

    names = [f"c{number:02}" for number in range(30)]
    async with serving(queues[0], make_runner(queues[0])), serving(queues[1], make_runner(queues[1])):
        await queues[0].publish("a", dict.fromkeys(names, "1"), "start", instead_of="")
        await wait_until(lambda: len(run) >= 30, every=0.05)
        await asyncio.sleep(2)
        assert sorted(run) == names
        await queues[1].request(["c07"], "request")
        await wait_until(lambda: run[30:] == ["c07"], every=0.05)
    database = access.address.url.rpartition("/")[2]
    rows = "SELECT count(*) FROM reconciler_jobs.procrastinate_jobs WHERE task_name = 'pass'"
    assert server.execute(rows, database) == [(0,)]


async def test_a_job_of_a_host_that_is_gone_is_run_by_another_one(queues, access, server):
    database = access.address.url.rpartition("/")[2]
    run = []

    async def run_pass(cluster):
        run.append(cluster)
        begun = await queues[0].begin(cluster)
        await queues[0].end(begun, "x", HOUR)

    async with serving(queues[0], run_pass):
        # What a worker that was killed leaves: its last sign of life, and a job that it has begun.
        server.execute(
            "SET search_path = reconciler_jobs; INSERT INTO procrastinate_workers (last_heartbeat)"
            " VALUES (now() - interval '3 seconds')",
            database,
        )
        server.execute(
            "SET search_path = reconciler_jobs; INSERT INTO procrastinate_jobs"
            " (queue_name, task_name, lock, status, args, worker_id) SELECT "
            f"'{queues[0].name}', 'pass', '{queues[0].name}/edge', 'doing',"
            ' \'{"cluster": "edge"}\', max(id)'
            " FROM procrastinate_workers",
            database,
        )
        began = time.monotonic()
        await queues[0].publish("a", {"edge": "1"}, "start", instead_of="")
        await wait_until(lambda: run, every=0.05)
        assert 1 < time.monotonic() - began < 2 * access.lease


@pytest.mark.parametrize("status", ["todo", "doing"])
async def test_jobs_that_hosts_with_another_selection_left_keep_no_cluster_from_these(access, server, status):
    database = access.address.url.rpartition("/")[2]
    with open_store(access) as store:
        other, own = store.open_pass_queue("other"), store.open_pass_queue("all")

        seen = asyncio.Event()

        async def run_no_pass(cluster):
            await seen.wait()

        async with serving(other, run_no_pass):
            await other.publish("a", {"edge": "1"}, "start", instead_of="")
            read = "SELECT lock, queueing_lock FROM reconciler_jobs.procrastinate_jobs WHERE status = 'doing'"
            read += " AND task_name = 'pass'"
            await wait_until(lambda: server.execute(read, database), every=0.05)
            ((lock, queueing_lock),) = server.execute(read, database)
            seen.set()
        # What such hosts leave if they are killed: nobody serves their queue any more.
        server.execute(
            "SET search_path = reconciler_jobs; DELETE FROM procrastinate_jobs;"
            " INSERT INTO procrastinate_jobs"
            " (queue_name, task_name, lock, queueing_lock, priority, status, args) VALUES"
            f" ('{other.name}', 'pass', '{lock}', '{queueing_lock}', 10, '{status}', '{{}}')",
            database,
        )
        run = asyncio.Event()

        async def run_pass(cluster):
            run.set()

        async with serving(own, run_pass), asyncio.timeout(3 * access.lease):
            await own.publish("a", {"edge": "1"}, "start", instead_of="")
            await run.wait()


async def test_a_clock_that_is_set_back_keeps_no_pass_waiting(access, queues, monkeypatch):
    back, run = [0.0], []
    monkeypatch.setattr("procrastinate.periodic.time", SimpleNamespace(time=lambda: time.time() - back[0]))

    async def run_pass(cluster):
        run.append(cluster)
        await queues[0].end(await queues[0].begin(cluster), "x", NextPass(2.0, "interval"))

    async with serving(queues[0], run_pass):
        await asyncio.sleep(1.5)  # the library remembers when its task was due last
        back[0] = 3600.0
        await queues[0].publish("a", {"edge": "1"}, "start", instead_of="")
        async with asyncio.timeout(2 + 2 * access.lease):
            await wait_until(lambda: len(run) > 1, every=0.05)


async def test_a_host_with_a_shorter_lease_leaves_the_running_passes_of_others(access, server):
    database, begun = access.address.url.rpartition("/")[2], []
    with open_store(replace(access, lease=60.0)) as first, open_store(access) as second:
        long, short = first.open_pass_queue("all"), second.open_pass_queue("all")

        async def run_pass(cluster):
            begun.append(await long.begin(cluster))
            await may_end.wait()

        async def run_no_pass(cluster):
            begun.append(await short.begin(cluster))

        may_end = asyncio.Event()
        async with serving(long, run_pass):
            await long.publish("a", {"edge": "1"}, "start", instead_of="")
            await wait_until(lambda: begun, every=0.05)
            async with serving(short, run_no_pass):
                await asyncio.sleep(2 * access.lease + 1)
                workers = "SELECT count(*) FROM reconciler_jobs.procrastinate_workers"
                assert server.execute(workers, database) == [(2,)]
                assert len(begun) == 1
                await long.end(begun[0], "x", HOUR)
            may_end.set()


async def test_rows_of_processes_that_were_killed_do_not_pile_up(access, server):
    database = access.address.url.rpartition("/")[2]
    with open_store(access) as store:
        server.execute(
            "INSERT INTO reconciler.host (holder, name, schema_version, rules, seen) SELECT"
            " 'killed ' || number, 'one', 1, '{}', now() - interval '2 days'"
            " FROM generate_series(1, 50) AS number",
            database,
        )
        for _ in range(2):
            async with store.lock("edge"):
                pass
        assert server.execute("SELECT count(*) FROM reconciler.host", database) == [(1,)]


async def test_the_tables_of_the_jobs_are_made_once_and_again_after_a_restore_without_them(access, server):
    database = access.address.url.rpartition("/")[2]
    with open_store(access):
        await asyncio.gather(*(asyncio.to_thread(prepare_job_tables, access, "3.10.0") for _ in range(4)))
        server.execute("DROP SCHEMA reconciler_jobs CASCADE", database)
        prepare_job_tables(access, "3.10.0")
        prepare_job_tables(access, "3.10.0")
    assert server.execute("SELECT count(*) FROM reconciler_jobs.procrastinate_jobs", database) == [(0,)]


def test_what_an_older_library_needs_is_removed_only_without_hosts_that_have_it():
    files = ["01_pre_a.sql", "01_post_a.sql", "02_pre_b.sql", "02_post_b.sql"]
    applied = {"01_pre_a.sql"}
    assert select_files(files, applied, has_older_hosts=True) == ["02_pre_b.sql"]
    assert select_files(files, applied, has_older_hosts=False) == files[1:]
