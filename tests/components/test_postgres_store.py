"""What only a store of several hosts has: leases, agreement, versions, and a database that is away."""

import asyncio
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from functools import partial

import pytest
from support.driver import REVISION, FakeDriver, Wish, World, cluster
from support.postgres_servers import PostgresServer
from support.stores import make_access
from support.waiting import wait_until

from reconciler.core.actor import Actor
from reconciler.core.observation import Observed
from reconciler.core.outcome import Outcome, State
from reconciler.core.plan import Plan
from reconciler.errors import ClusterBusy, RunFenced, StateError, SuspendedMeanwhile
from reconciler.host.clock import read_boot_clock
from reconciler.ports.call_permit import ask_permit, require_permit
from reconciler.ports.store import OutboxMessage, RunStart, StepEnd
from reconciler.store.factory import open_reader, open_store
from reconciler.store.postgres import database, schema
from reconciler.store.postgres.access import PostgresAccess
from reconciler.store.sql.facts import write_facts

FACTS = {"a": {"k": "v"}}

pytestmark = pytest.mark.component("postgres", "initdb")


@pytest.fixture(scope="module")
def server():
    found = PostgresServer()
    found.start()
    yield found
    found.close()


@pytest.fixture
def url(server):
    return server.create_database()


def access(url, folder, *, host="host-a", lease=30.0, **rules):
    found = make_access(url, folder, host=host, **rules)
    return PostgresAccess(found.address, found.key, found.host, lease)


def plan_of(name="edge", **values) -> Plan:
    entry, world = cluster(name, values), World(dict.fromkeys(values, "old"))
    seen = {node: world.answer(node) for node in values}
    return Plan(REVISION, "0.1.0", (FakeDriver(world).plan(Wish(entry), Observed(seen)),))


def add_message(tx, name):
    tx.execute(
        "INSERT INTO message (id, run, step, created, body, wanted)"
        " VALUES (?, (SELECT max(number) FROM run), '', '', ?, TRUE)",
        (name, b"{}"),
    )


def freeze_lease(store):
    """As if the process had been stopped: nothing renews its leases."""
    store._leases._stop.set()
    store._leases._renewer.join()


async def can_lock(store, cluster):
    try:
        async with store.lock(cluster):
            return True
    except ClusterBusy:
        return False


class TestLeases:
    async def test_each_holder_has_a_higher_token_and_a_released_one_is_free_at_once(
        self, url, tmp_path, server
    ):
        tokens = []
        for host in "aba":
            with open_store(access(url, tmp_path, host=host)) as store:
                async with store.lock("edge"):
                    tokens.append(
                        server.execute("SELECT token FROM reconciler.lease", url.rpartition("/")[2])
                    )
        assert tokens == [[(1,)], [(2,)], [(3,)]]

    async def test_a_lease_is_renewed_while_its_holder_lives(self, url, tmp_path):
        mine, theirs = access(url, tmp_path, lease=0.6), access(url, tmp_path, host="b", lease=0.6)
        with open_store(mine) as store, open_store(theirs) as other:
            async with store.lock("edge"):
                for _ in range(4):
                    await asyncio.sleep(0.3)
                    with pytest.raises(ClusterBusy, match="being changed by host-a process") as caught:
                        async with other.lock("edge"):
                            pass
                    assert "its lease ends in 1 s" in caught.value.remedy
                await store.hold_for("edge", 0.1)

    async def test_a_holder_that_stood_still_for_longer_writes_nothing_more(self, url, tmp_path):
        plan = plan_of(a="1", b="2")
        step, second = plan.steps()
        mine, theirs = access(url, tmp_path, lease=0.6), access(url, tmp_path, host="b", lease=0.6)
        with open_store(mine) as store, open_store(theirs) as other:
            async with store.lock("edge"):
                run = await store.begin_run(RunStart("command", plan))
                await store.record_intent(run, step)
                freeze_lease(store)
                await asyncio.sleep(0.7)
                with pytest.raises(RunFenced, match="its lease was not renewed in time"):
                    await store.record_intent(run, second)
                async with other.lock("edge"):
                    later = await other.begin_run(RunStart("command", plan))
                    for write in (
                        store.record_intent(run, second),
                        store.record_outcomes(run, [StepEnd(Outcome(step, State.DONE))]),
                        store.begin_run(RunStart("command", plan)),
                        store.store_facts("edge", {"a": {"k": "v"}}),
                        store.store_progress("edge", None),
                        store.hold_for("edge", 10),
                    ):
                        with pytest.raises(RunFenced, match="a later run took over from"):
                            await write
                    assert (await other.run(later)).summary.counts == {"open": 2}
            assert (await other.run(run)).summary.counts == {"open": 2}

    async def test_a_lease_is_made_to_outlast_a_call(self, url, tmp_path, server):
        with open_store(access(url, tmp_path, lease=5.0)) as store:
            async with store.lock("edge"):
                await store.hold_for("edge", 100)
                rows = server.execute(
                    "SELECT extract(epoch FROM until - clock_timestamp()) FROM reconciler.lease",
                    url.rpartition("/")[2],
                )
                assert rows[0][0] > 100

    async def test_a_call_does_not_begin_where_the_database_cannot_be_asked(self, tmp_path):
        server = PostgresServer()
        server.start()
        try:
            with open_store(access(server.create_database(), tmp_path, lease=2.0)) as store:
                async with store.lock("edge"):
                    server.stop()
                    with pytest.raises(StateError, match="the database postgresql://app@"):
                        await store.hold_for("edge", 10)
        finally:
            server.close()

    async def test_a_lease_whose_release_got_lost_is_not_renewed_for_ever(self, tmp_path):
        server = PostgresServer()
        server.start()
        try:
            url = server.create_database()
            with open_store(access(url, tmp_path, lease=3.0)) as store:
                async with store.lock("edge"):
                    server.stop()
                server.start()
                await wait_until(partial(can_lock, store, "edge"), seconds=10, every=0.2)
        finally:
            server.close()


class TestOutbox:
    async def test_one_host_at_a_time_delivers_the_messages_of_all(self, url, tmp_path):
        plan = plan_of(a="1")
        (step,) = plan.steps()
        with open_store(access(url, tmp_path)) as store, open_store(access(url, tmp_path, host="b")) as other:
            run = await store.begin_run(RunStart("command", plan))
            message = OutboxMessage("m", b"{}")
            await store.record_outcomes(run, [StepEnd(Outcome(step, State.DONE), outbox_message=message)])
            assert [one.id for one in await store.list_due()] == ["m"]
            assert await other.list_due() == ()
            await store.mark_failed("m", "the sink is away", refused=False)
            assert [one.id for one in await other.list_due()] == ["m"]
            await other.mark_sent("m")
            assert await other.list_due(beyond=1) == ()
            assert await store.list_due() == ()


class TestWriters:
    async def test_hosts_write_for_their_clusters_at_the_same_time(self, url, tmp_path):
        """Each waits in its transaction for the other one, which is in its own by then."""
        both = threading.Barrier(2, timeout=20)
        with open_store(access(url, tmp_path)) as store, open_store(access(url, tmp_path, host="b")) as other:
            async with store.lock("edge"), other.lock("core"):

                async def write(one, cluster):
                    await one._write_own([cluster], lambda tx: (both.wait(), write_facts(tx, cluster, FACTS)))

                await asyncio.gather(write(store, "edge"), write(other, "core"))
            facts = (await store.read_memory()).facts
        assert facts == {"edge": FACTS, "core": FACTS}

    @pytest.mark.parametrize("is_held", [True, False])
    async def test_an_order_waits_for_writers_of_clusters_and_they_for_it(self, url, tmp_path, is_held):
        order = []

        def write(name, seconds):
            def work(tx):
                order.append(f"{name} begins")
                time.sleep(seconds)
                order.append(f"{name} ends")

            return work

        with open_store(access(url, tmp_path)) as store, open_store(access(url, tmp_path, host="b")) as other:
            async with AsyncExitStack() as leases:
                if is_held:  # without its lease, a writer for a cluster has to be alone, too
                    await leases.enter_async_context(store.lock("edge"))
                first = asyncio.create_task(store._write_own(["edge"], write("cluster", 0.3)))
                await wait_until(lambda: order)
                order_given = asyncio.create_task(other._write(write("order", 0.3)))
                await first
                await wait_until(lambda: "order begins" in order)
                await store._write_own(["edge"], write("next", 0))
                await order_given
        assert order == [
            f"{name} {what}" for name in ("cluster", "order", "next") for what in ("begins", "ends")
        ]

    async def test_no_message_is_passed_over_that_is_written_beside_a_later_one(self, url, tmp_path):
        """Numbers are given before they become visible: whoever reads waits for those who write."""
        begun, goes_on = threading.Event(), threading.Event()

        def write_first(tx):
            add_message(tx, "first")
            begun.set()
            assert goes_on.wait(20)

        with open_store(access(url, tmp_path)) as store, open_store(access(url, tmp_path, host="b")) as other:
            await store.begin_run(RunStart("command", plan_of(a="1")))
            async with store.lock("edge"), other.lock("core"):
                first = asyncio.create_task(store._write_own(["edge"], write_first))
                await wait_until(begun.is_set)
                await other._write_own(["core"], lambda tx: add_message(tx, "second"))
                due = asyncio.create_task(other.list_due())
                await asyncio.sleep(0.3)
                assert not due.done()
                goes_on.set()
                await first
                assert [one.id for one in await due] == ["first", "second"]


class TestAgreement:
    async def test_a_host_with_another_configuration_takes_no_pass_until_no_other_has_the_former(
        self, url, tmp_path, monkeypatch
    ):
        with open_store(access(url, tmp_path, networks="1")) as store:
            async with store.lock("edge"):
                pass
            other = access(url, tmp_path, host="host-b", networks="2", commands="3")
            with open_store(other) as theirs:
                with pytest.raises(
                    StateError, match=r"differs from that of host-a.*`commands`, `networks`"
                ) as caught:
                    async with theirs.lock("edge"):
                        pass
                assert "make them equal" in caught.value.remedy
            async with store.lock("edge"):  # the host that was there first goes on
                pass
        with open_store(other) as theirs:
            async with theirs.lock("edge"):
                pass

    def test_every_host_needs_the_key_of_the_store(self, url, tmp_path):
        with open_store(access(url, tmp_path)):
            pass
        elsewhere = tmp_path / "b"
        elsewhere.mkdir()
        with pytest.raises(StateError, match=r"the key of the store .* is missing on this host") as caught:
            open_store(access(url, elsewhere, host="host-b"))
        assert "copy it from host-a" in caught.value.remedy
        assert not list(elsewhere.iterdir())
        with open_store(access(url.replace("/t", "/t"), tmp_path)):
            pass

    def test_another_key_is_refused(self, url, server, tmp_path):
        for folder, database_url in (("a", url), ("b", server.create_database())):
            (tmp_path / folder).mkdir()
            with open_store(access(database_url, tmp_path / folder)):
                pass
        with pytest.raises(StateError, match=r"is not that of the store .*, which host-a made"):
            open_store(access(url, tmp_path / "b", host="host-b"))


class TestVersions:
    async def test_a_host_that_is_too_old_stops_and_one_that_is_just_older_goes_on(
        self, url, tmp_path, monkeypatch
    ):
        newer = schema.Migration(("ALTER TABLE run ADD COLUMN extra TEXT",), oldest=len(schema.MIGRATIONS))
        newest = schema.Migration(
            ("ALTER TABLE run ADD COLUMN more TEXT",), oldest=len(schema.MIGRATIONS) + 1
        )
        with open_store(access(url, tmp_path)) as old:
            async with old.lock("edge"):
                monkeypatch.setattr(database, "MIGRATIONS", (*schema.MIGRATIONS, newer))
                monkeypatch.setattr("reconciler.store.postgres.store.MIGRATIONS", (*schema.MIGRATIONS, newer))
                with open_store(access(url, tmp_path)):
                    pass
                monkeypatch.setattr(database, "MIGRATIONS", schema.MIGRATIONS)
                await old.check_writable()
                # Two versions further: the first one still runs, and would be cut off.
                both = (*schema.MIGRATIONS, newer, newest)
                monkeypatch.setattr(database, "MIGRATIONS", both)
                monkeypatch.setattr("reconciler.store.postgres.store.MIGRATIONS", both)
                with pytest.raises(
                    StateError, match=r"is in use by hosts whose program is too old .*: host-a"
                ):
                    open_store(access(url, tmp_path))
            old._leases._session.thread.submit(old._leases._forget).result()
            with open_store(access(url, tmp_path)):
                pass
            monkeypatch.setattr(database, "MIGRATIONS", schema.MIGRATIONS)
            with pytest.raises(StateError, match=r"a newer version of this program wrote .*takes no pass"):
                async with old.lock("edge"):
                    pass

    async def test_who_only_reads_never_migrates(self, url, tmp_path, monkeypatch):
        newer = schema.Migration(("ALTER TABLE run ADD COLUMN extra TEXT",), oldest=len(schema.MIGRATIONS))
        older = len(schema.MIGRATIONS)
        with open_store(access(url, tmp_path)) as running:
            both = (*schema.MIGRATIONS, newer)
            monkeypatch.setattr(database, "MIGRATIONS", both)
            monkeypatch.setattr("reconciler.store.postgres.store.MIGRATIONS", both)
            with pytest.raises(
                StateError, match=rf"schema version {older}, this program has {older + 1}"
            ) as told:
                open_reader(access(url, tmp_path))
            assert "reconcile watch" in told.value.remedy
            await running.check_writable()
            with open_store(access(url, tmp_path)), open_reader(access(url, tmp_path)) as reader:
                assert await reader.runs() == ()

    def test_hosts_that_start_together_make_the_tables_once(self, url, tmp_path):
        def start(_):
            with open_store(access(url, tmp_path)):
                return True

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(start, range(4))) == [True] * 4


class TestLostWrites:
    """What the tests change in `host` is what a standby has that lags behind, or a dump."""

    @pytest.mark.parametrize(
        "lose",
        [
            "UPDATE reconciler.host SET writes = writes - 1 WHERE name = 'host-a'",
            "DELETE FROM reconciler.host WHERE name = 'host-a'",
        ],
    )
    async def test_a_database_that_forgot_a_confirmed_write_suspends_all_hosts(
        self, url, tmp_path, server, lose
    ):
        plan = plan_of(a="1", b="2")
        step, second = plan.steps()
        with open_store(access(url, tmp_path)) as store, open_store(access(url, tmp_path, host="b")) as other:
            async with store.lock("edge"):
                run = await store.begin_run(RunStart("command", plan))
                await store.record_intent(run, step)
                server.execute(lose, url.rpartition("/")[2])
                with pytest.raises(StateError, match=r"has lost \d+ or more writes") as caught:
                    await store.record_intent(run, second)
                assert "reconcile status" in caught.value.remedy
            async with store.lock("edge"):  # which writes the row again
                with suppress(StateError):
                    await store.check_writable()
                with pytest.raises(SuspendedMeanwhile, match="all clusters were suspended"):
                    await store.record_intent(run, second)
            async with other.lock("edge"):
                run = await other.begin_run(RunStart("command", plan))
                with pytest.raises(SuspendedMeanwhile, match="all clusters were suspended"):
                    await other.record_intent(run, step)
                (suspension,) = (await other.orders()).suspensions
                assert "confirmed writes" in suspension.reason
                await other.resume("", Actor("kim"))
                await other.record_intent(run, step)
            async with store.lock("edge"):
                run = await store.begin_run(RunStart("command", plan))
                await store.record_intent(run, step)

    async def test_a_write_that_failed_is_not_missed(self, url, tmp_path):
        with open_store(access(url, tmp_path)) as store:
            async with store.lock("edge"):
                (step,) = plan_of(a="1").steps()
                for _ in range(3):
                    with pytest.raises(StateError, match="no longer in the journal"):
                        await store.record_intent("missing", step)
                    await store.check_writable()

    async def test_a_row_that_another_host_deleted_long_after_is_not_missed(
        self, url, tmp_path, server, monkeypatch
    ):
        with open_store(access(url, tmp_path)) as store:
            async with store.lock("edge"):
                await store.check_writable()
            server.execute("DELETE FROM reconciler.host", url.rpartition("/")[2])
            later = read_boot_clock() + 86400
            monkeypatch.setattr("reconciler.store.postgres.confirmed_writes.read_boot_clock", lambda: later)
            await store.check_writable()
            assert (await store.orders()).suspensions == ()


class TestTrouble:
    async def test_a_restarted_server_is_used_again_without_an_error(self, tmp_path):
        server = PostgresServer()
        server.start()
        try:
            with open_store(access(server.create_database(), tmp_path)) as store:
                await store.check_writable()
                await store.orders()
                server.stop()
                for ask in (store.check_writable, store.orders):
                    with pytest.raises(StateError, match="the database postgresql://app@") as caught:
                        await ask()
                    assert caught.value.remedy
                server.start()
                await store.check_writable()
                await store.orders()
                server.stop(signal.SIGQUIT)  # as after a crash
                server.start()
                await store.orders()
                await store.check_writable()
        finally:
            server.close()

    async def test_a_write_waits_for_that_of_another_host_and_both_are_kept(self, url, tmp_path):
        with open_store(access(url, tmp_path)) as store, open_store(access(url, tmp_path, host="b")) as other:

            def slow(tx):
                time.sleep(0.3)
                tx.execute("UPDATE node_position SET position = position + 1 WHERE what = 'any'")

            await asyncio.gather(*(one._write(slow) for one in (store, other) for _ in range(2)))
            assert (await store.read_changes(0)).position == 5

    def test_a_reader_of_an_empty_database_makes_nothing(self, url, tmp_path, server):
        with open_reader(access(url, tmp_path)) as reader:
            assert asyncio.run(reader.runs()) == ()
        assert server.execute("SELECT count(*) FROM pg_namespace WHERE nspname = 'reconciler'",
                              url.rpartition("/")[2]) == [(0,)]  # fmt: skip
        assert not list(tmp_path.iterdir())

    def test_a_missing_database_and_a_refused_login_are_told(self, server, tmp_path):
        with pytest.raises(StateError, match="there is no such database"):
            open_store(access(server.url("missing"), tmp_path))
        with pytest.raises(StateError, match="refuses the login"):
            open_store(access(server.url("postgres").replace("app@", "nobody@"), tmp_path))
        with pytest.raises(StateError, match="cannot be reached"):
            open_store(access("postgresql://app@127.0.0.1:1/x", tmp_path))

    async def test_a_standby_is_told(self, url, tmp_path, server):
        name = url.rpartition("/")[2]
        with open_store(access(url, tmp_path)) as store:
            await store.orders()
        server.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        with open_store(access(url, tmp_path)) as store:
            await store.orders()
            with pytest.raises(StateError, match="it only reads: this server is a standby"):
                await store.suspend("", "3 a.m.", Actor("kim"))
            with pytest.raises(StateError, match="it only reads"):
                async with store.lock("edge"):
                    pass


class TestCalls:
    async def test_a_call_begins_only_if_the_lease_outlasts_it(self, url, tmp_path, server):
        begun = []

        async def call(seconds):
            await ask_permit(seconds)
            begun.append(seconds)

        with open_store(access(url, tmp_path, lease=1.0)) as store:
            async with store.lock("edge"):
                lease = store._leases.get("0/edge")
                with require_permit(partial(store.hold_for, "edge")):
                    await call(20)
                    assert lease.remaining() > 20
                    freeze_lease(store)
                    lease.end = 0.0  # this process stood still for long
                    await call(20)  # nobody else has had it: it goes on with the same token
                    server.execute(
                        "UPDATE reconciler.lease SET until = clock_timestamp() - interval '1 s'",
                        url.rpartition("/")[2],
                    )
                    with open_store(access(url, tmp_path, host="host-b")) as other:
                        async with other.lock("edge"):
                            lease.end = 0.0
                            with pytest.raises(RunFenced, match="a later run took over"):
                                await call(20)
        assert begun == [20, 20]

    async def test_a_suspension_of_another_host_is_seen_before_the_next_call(self, url, tmp_path):
        first, second, third = plan_of(a="1", b="2", c="3").steps()
        plan = plan_of(a="1", b="2", c="3")
        mine, theirs = access(url, tmp_path), access(url, tmp_path, host="host-b")
        with open_store(mine) as store, open_store(theirs) as other:
            async with store.lock("edge"):
                run = await store.begin_run(RunStart("command", plan))
                await store.record_intent(run, first)
                await other.suspend("", "3 a.m.", Actor("kim"))
                with pytest.raises(SuspendedMeanwhile, match="all clusters were suspended meanwhile"):
                    await store.record_intent(run, second)
                await store.record_intent(run, second, despite_suspension=True)
                await other.resume("", Actor("kim"))
                await store.record_intent(run, third)
