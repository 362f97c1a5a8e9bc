"""What a host may do: by which list of instances it plans, and how long its lease lets it call and write."""

# ruff: noqa: SLF001  (faults are planted where they hurt, in private functions too)

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any, Final

from reconciler.errors import InventoryError, ReconcilerError
from reconciler.host.clock import read_boot_clock
from reconciler.inventory import resolver
from reconciler.inventory.resolver import InventoryResolver
from reconciler.ports.inventory import Instance, InventoryList, UnreadInventory
from reconciler.store.postgres import leases
from reconciler.store.postgres.leases import Lease, LeaseKeeper

NOW: Final = datetime(2026, 11, 30, 12, tzinfo=UTC)
INSIDE: Final = Instance("i-1", "10.20.0.1")
OUTSIDE: Final = Instance("i-2", "192.0.2.1")


def listed_instances() -> None:
    """An error or an empty answer never means no nodes; an earlier list counts for a while."""
    rules = SimpleNamespace(networks=(ip_network("10.20.0.0/16"), ip_network("10.30.0.0/16")), max_age=60.0)
    account: Any = SimpleNamespace(name="main", pointer="aws.main.ec2", label="AWS `main`", rules=rules)
    query: Any = SimpleNamespace(expression="aws:vm:tag=edge")

    def check(*listed: Instance) -> InventoryList | str:
        try:
            return resolver._check(listed, query, account, NOW)
        except InventoryError as error:
            return error.message

    assert check() == "AWS `main` finds no running instance for aws:vm:tag=edge"
    assert str(check(OUTSIDE)).startswith(
        "AWS `main` finds only instances outside `aws.main.ec2.networks`: the "
    )
    found = check(INSIDE, OUTSIDE, Instance("i-3", "10.30.0.1"), Instance("i-4", "damaged"))
    assert isinstance(found, InventoryList)
    assert [one.id for one in found.instances] == ["i-1", "i-3"]
    assert found.refused == ("the instance i-2 at 192.0.2.1 is outside `aws.main.ec2.networks`",)
    most = resolver._MOST_REFUSED
    for count, last in ((most, "the instance"), (most + 1, "1 further"), (most + 7, "7 further")):
        _, refused = resolver._filter_networks([OUTSIDE] * count, account)
        assert len(refused) == min(count, most + 1)
        assert refused[-1].startswith(last)

    def recall(seconds: float, *instances: Instance) -> InventoryList | UnreadInventory:
        known = InventoryList(instances, NOW - timedelta(seconds=seconds)) if instances else None
        cache: Any = SimpleNamespace(read=lambda *_: known)
        own: Any = SimpleNamespace(cache=cache, clock=lambda: NOW)
        return InventoryResolver._recall(own, "key", account, "it is away", "wait")

    for age, is_used in ((0, True), (60, True), (60.1, False)):
        found = recall(age, INSIDE, OUTSIDE)
        assert isinstance(found, InventoryList) is is_used, age
        if isinstance(found, InventoryList):
            assert (found.instances, found.failure, len(found.refused)) == ((INSIDE,), "it is away", 1)
        else:
            assert found.is_asked
            assert "the last known list is" in found.message
    none: Any = SimpleNamespace(cache=None, clock=lambda: NOW)
    for missing in (recall(0), InventoryResolver._recall(none, "key", account, "it is away", "")):
        assert isinstance(missing, UnreadInventory)
        assert missing.is_asked
        assert missing.message == "it is away, and no earlier list is known"
    left = recall(0, OUTSIDE)
    assert isinstance(left, UnreadInventory)
    assert "no instance of the last known list is in an allowed network" in left.message


class Keeper(LeaseKeeper):
    """A keeper without a database.

    Args:
        answers: what the database says to each statement, by its first words.
    """

    def __init__(self, **answers: Any) -> None:
        self._seconds, self._holder, self._host = 30.0, "host process 1", SimpleNamespace(rules=None)  # type: ignore[assignment]
        self._held: dict[str, Lease] = {}
        self.answers, self.said = answers, list[str]()
        self.values: dict[str, tuple[Any, ...]] = {}
        self._session: Any = SimpleNamespace(run=self._run, transact=self._transact)
        self.connection: Any = SimpleNamespace(execute=self._execute)

    async def _run(self, work: Callable[[], Any]) -> Any:
        return work()

    def _transact(self, _begin: str, work: Callable[[Any], Any]) -> Any:
        return work(self.connection)

    def _execute(self, statement: str, values: tuple[Any, ...] = ()) -> Any:
        name = next(name for name, words in _STATEMENTS.items() if words in statement)
        self.said.append(name)
        self.values[name] = values
        rows = self.answers.get(name, [])
        return SimpleNamespace(fetchone=lambda: rows[0] if rows else None, fetchall=lambda: rows)

    def have(self, seconds: float, name: str = "cluster/edge", token: int = 7) -> Lease:
        lease = self._held[name] = Lease(name, token, read_boot_clock() + seconds)
        return lease


_STATEMENTS: Final = {
    "seen": "UPDATE host SET seen",
    "free": leases._FREE_OTHERS,
    "renew": leases._RENEW,
    "extend": leases._EXTEND,
    "take": leases._TAKE,
    "check": leases._CHECK,
    "other": "SELECT holder, extract",
    "seen here": "INSERT INTO host",
    "known": "SELECT value, host FROM agreement",
    "running": "SELECT min(name)",
    "agree": "INSERT INTO agreement",
    "forget": "DELETE FROM host",
}


def _refusal(work: Callable[[], Any]) -> tuple[str, str]:
    """What refuses a piece of work, and what to do; empty if nothing does."""
    try:
        work()
    except ReconcilerError as error:
        return error.message, error.remedy
    return "", ""


def lasting_leases() -> None:
    """A call begins only if the lease outlasts it; nothing is written without it; only our own is renewed."""
    _check_calls()
    _check_fence()
    _check_renewal()
    _check_taking()
    _check_agreement()


def _check_calls() -> None:
    def extend(keeper: Keeper) -> str:
        return _refusal(lambda: asyncio.run(keeper.extend("cluster/edge", 10)))[0]

    margin = leases._MARGIN
    for remaining, asks in ((10 + margin + 1, False), (10 + margin - 0.5, True), (10.5, True), (5, True)):
        keeper = Keeper(extend=[{"token": 7}])
        lease = keeper.have(remaining)
        assert extend(keeper) == ""
        assert keeper.said == ["extend"] * asks, remaining
        assert lease.remaining() > 10 + margin
        assert not asks or lease.remaining() <= 10 + 2 * margin
    assert extend(Keeper()) == "", "one that is not held is not checked"
    keeper = Keeper()
    lease = keeper.have(5)
    assert "a later run took over" in extend(keeper)
    assert lease.end == 0.0
    keeper = Keeper()
    lease = keeper.have(5)

    async def answer_late(_work: Any) -> None:
        lease.end = read_boot_clock() + 10 + margin - 0.1

    keeper._session.run = answer_late
    assert "its lease ends before the next call could" in extend(keeper)


def _check_fence() -> None:
    own = {"holder": "host process 1", "token": 7, "lasts": True}
    for row, why in (
        (own, ""),
        (None, "(it has ended)"),
        (own | {"token": 8}, "took over"),
        (own | {"holder": "other process 1 ab"}, "(other process 1)"),
        (own | {"holder": ""}, "(it has ended)"),
        (own | {"lasts": False}, "was not renewed in time"),
    ):
        keeper = Keeper(check=[row] if row else [])
        keeper.have(5)
        told, _ = _refusal(partial(keeper.make_fence("cluster/edge", "run-1"), keeper.connection))
        assert bool(told) is bool(why), row
        assert why in told
    nobody = Keeper()
    nobody.make_fence("cluster/edge")(nobody.connection)
    assert nobody.said == [], "nothing is asked where nothing is held"


def _check_renewal() -> None:
    keeper = Keeper(renew=[{"name": "cluster/edge", "token": 7}, {"name": "cluster/core", "token": 9}])
    edge, core, gone = keeper.have(5), keeper.have(5, "cluster/core", 8), keeper.have(5, "cluster/gone")
    outbox = keeper.have(5, leases.OUTBOX)
    keeper._renew()
    assert 29 < edge.remaining() <= 30
    assert (core.end, gone.end) == (0.0, 0.0), "of somebody else by now"
    assert 4 < outbox.remaining() <= 5, "a host that stops in the middle must not keep it"
    assert keeper.said == ["seen", "free", "renew"]
    longer = keeper.have(300)
    keeper._renew()
    assert longer.remaining() > 290


def _check_taking() -> None:
    keeper = Keeper(take=[{"token": 9}])
    assert keeper._write_lease("cluster/edge", "is held by", keeper.connection) == 9
    assert keeper.said == ["take"]
    for seconds, shown in ((12.4, "12 s"), (-3.0, "1 s")):
        busy = Keeper(other=[{"holder": "other process 1 ab", "seconds": seconds}])
        told, remedy = _refusal(partial(busy._write_lease, "cluster/edge", "is held by", busy.connection))
        assert told == "is held by other process 1"
        assert remedy.endswith(f" {shown}")


def _check_agreement() -> None:
    """Hosts that do not agree must not change one cluster in turn."""
    mine, text = {"oci": "2", "aws": "1"}, '{"aws": "1", "oci": "2"}'
    for theirs, running, sentence in (
        (None, None, ""),
        (mine, "other", ""),
        (mine | {"aws": "3"}, None, ""),
        (mine | {"aws": "3"}, "other", "differs from that of other, which uses the same store, in `aws`;"),
        (mine | {"kafka": "3"}, "other", "in `kafka`;"),
    ):
        known = [{"value": json.dumps(theirs), "host": "other"}] if theirs else []
        keeper = Keeper(take=[{"token": 9}], known=known, running=[{"name": running}])
        keeper._host = SimpleNamespace(rules=mine, name="host")  # type: ignore[assignment]
        told, _ = _refusal(partial(keeper._write_lease, "cluster/edge", "is held by", keeper.connection))
        assert bool(told) is bool(sentence), theirs
        assert sentence in told
        asked = ["running"] if theirs != mine else []
        agreed = ["agree"] if theirs != mine else []
        assert keeper.said == ["seen here", "forget", "known", *asked, *([] if told else [*agreed, "take"])]
        # The database compares these texts.
        assert all(text in keeper.values[name] for name in ("seen here", "agree") if name in keeper.said)
        assert not known or theirs == mine or known[0]["value"] in keeper.values["running"]


INVENTORY: Final = (resolver._check, resolver._filter_networks, InventoryResolver._recall)
LEASES: Final = (
    LeaseKeeper.extend,
    LeaseKeeper.make_fence,
    LeaseKeeper._extend,
    LeaseKeeper._renew,
    LeaseKeeper._write_lease,
    leases.agree_on_rules,
)

ALIKE: Final = dict.fromkeys(
    (
        "LeaseKeeper.extend: LtE in lease.remaining() <= seconds + _MARGIN",
        "LeaseKeeper.extend: Gt in lease.remaining() > seconds + _MARGIN",
    ),
    "no two readings of a clock are equal",
)
