"""Acts of pages and of the API: the role that each needs, what it writes, and how it is refused."""

import asyncio

import pytest

from reconciler.api import acts
from reconciler.core.pins import LeftRevision
from reconciler.core.plan import Revision
from reconciler.core.roles import AccessRole, Grant
from reconciler.errors import ReconcilerError
from reconciler.ports.store import AppliedMembers, ClusterFacts
from reconciler.server.access.identity import SOMEBODY_LOCAL, Identity, LoginMethod
from reconciler.server.access.refusal import AccessRefused
from reconciler.server.acts.checked_orders import OrderDenied
from reconciler.server.acts.service import ActService, get_needed_role
from reconciler.store.factory import open_store

PLAN = "ab" * 32


class Log:
    def __init__(self):
        self.lines = []

    def info(self, event, **fields):
        self.lines.append((event, fields))


class Site:
    """A store with two clusters, and a service for it."""

    def __init__(self, store):
        self.store, self.log, self.passes = store, Log(), []
        self.service = ActService(store, self.log, request_pass=self.request_pass)

    def request_pass(self, cluster):
        self.passes.append(cluster)
        return tuple(one for one in ("edge", "live") if cluster in {"", one})

    async def fill(self):
        for cluster in ("edge", "live"):
            members = AppliedMembers(1, (f"{cluster}-1",), "/repo")
            await self.store.record_pass(cluster, ClusterFacts(members=members))
        await self.store.request_approval("edge", PLAN, "4be6bbe", "1 step")

    async def perform(self, act, *grants):
        return await self.service.perform(act, identity(*grants))


@pytest.fixture
async def site(tmp_path):
    with open_store(tmp_path) as store:
        found = Site(store)
        await found.fill()
        yield found


def identity(*grants):
    return Identity("kim", LoginMethod.OIDC, grants)


def operate(*clusters):
    return Grant(AccessRole.OPERATE, clusters or ("*",))


def approve(*clusters):
    return Grant(AccessRole.APPROVE, clusters or ("*",))


ORDERS = [
    acts.ApproveAct(plan=PLAN[:8]),
    acts.SuspendAct(cluster="edge", reason="r"),
    acts.ResumeAct(cluster="edge"),
    acts.HoldAct(node="edge/edge-1", until="4h", reason="r"),
    acts.UnpinAct(cluster="edge"),
    acts.RetryAct(target="edge"),
    acts.LookAct(cluster="edge"),
]
EVERYWHERE = [
    acts.SuspendAct(reason="r"),
    acts.ResumeAct(),
    acts.LookAct(),
    acts.ApproveAct(plan="cd" * 32),
]


@pytest.mark.parametrize("act", ORDERS, ids=lambda act: act.name)
async def test_an_act_needs_its_role_for_its_cluster(site, act):
    needed = get_needed_role(type(act))
    other = approve() if needed is AccessRole.OPERATE else operate()
    for refused in ([], [Grant(AccessRole.LOOK)], [other], [Grant(needed, ("live",))], [Grant(needed, ())]):
        with pytest.raises(AccessRefused) as caught:
            await site.perform(act, *refused)
        assert caught.value.status == 403
    assert site.log.lines == []
    await site.perform(act, Grant(needed, ("edge",)))
    (event, fields), *_ = site.log.lines
    assert event == "order accepted"
    assert fields["user"] == "oidc:kim"
    assert fields["cluster"] == "edge"


@pytest.mark.parametrize("act", EVERYWHERE, ids=lambda act: act.name)
async def test_what_is_about_every_cluster_needs_the_role_for_every_cluster(site, act):
    role = get_needed_role(type(act))
    with pytest.raises(AccessRefused, match="for all clusters"):
        await site.perform(act, Grant(role, ("edge", "live")))
    await site.perform(act, Grant(role))


@pytest.mark.parametrize("act", [*ORDERS, acts.RollBackAct(revision="x"), acts.StopAct(node="edge-1")])
async def test_without_a_login_nobody_acts_and_the_refusal_says_how_to_get_one(site, act):
    with pytest.raises(AccessRefused, match="needs a login") as caught:
        await site.service.perform(act, SOMEBODY_LOCAL)
    assert caught.value.status == 401
    assert "reconcile dashboard" in caught.value.remedy


async def test_the_history_has_who_and_why(site):
    await site.perform(acts.SuspendAct(cluster="edge", reason="it looks odd", by="lee"), operate())
    (newest, *_) = await site.store.list_past_orders()
    assert (newest.kind, newest.cluster, newest.actor.why) == ("suspend", "edge", "it looks odd")
    assert (newest.actor.user, newest.actor.claim) == ("oidc:kim", "lee")


async def test_a_hold_is_released_by_who_may_operate_its_cluster_only(site):
    held = await site.perform(acts.HoldAct(node="live/live-1", until="4h", reason="r"), operate("live"))
    assert held.node == "live/live-1"
    with pytest.raises(AccessRefused):
        await site.perform(acts.ReleaseAct(node="live/live-1"), operate("edge"))
    assert len((await site.store.orders()).holds) == 1
    released = await site.perform(acts.ReleaseAct(node="live/live-1"), operate("live"))
    assert released.ended == ("live/live-1",)
    assert (await site.store.orders()).holds == ()
    assert site.passes == [""]


async def test_a_pin_ends(site):
    revision, left = Revision("/repo", "a" * 40, "aaaaaaa"), (LeftRevision("b" * 40, "bbbbbbb"),)
    await site.store.pin("edge", revision, left, identity().make_actor())
    result = await site.perform(acts.UnpinAct(cluster="edge"), operate())
    assert len(result.ended) == 1
    assert (await site.store.orders()).pins == ()


async def test_a_dry_run_accepts_no_order_but_looks_again():
    service = ActService(None, Log(), request_pass=lambda cluster: (cluster,))
    caller = identity(operate(), approve())
    for act in (*ORDERS[:-1], acts.RollBackAct(revision="x"), acts.PurgeAct(targets=("a/b",))):
        with pytest.raises(OrderDenied, match="dry run"):
            await service.perform(act, caller)
    assert (await service.perform(acts.LookAct(cluster="edge"), caller)).clusters == ("edge",)


async def test_a_pass_of_an_unknown_cluster_is_refused(site):
    with pytest.raises(ReconcilerError, match="no cluster 'egde'"):
        await site.perform(acts.LookAct(cluster="egde"), operate())


class SlowRollbacks:
    """Rollbacks that end when they are told to."""

    def __init__(self):
        self.go, self.ended = asyncio.Event(), False

    async def run(self, request, actor, identity, require):
        require("edge")
        await self.go.wait()
        self.ended = True
        return {"status": 0, "refused": [], "run": "r1"}, b""


async def test_a_caller_that_disconnects_does_not_stop_a_rollback_and_the_watch_waits_for_it():
    rollbacks = SlowRollbacks()
    service = ActService(None, Log(), rollbacks)
    asked = asyncio.create_task(
        service.perform(acts.RollBackAct(revision="x", plan=PLAN), identity(operate("edge")))
    )
    await asyncio.sleep(0.01)
    asked.cancel()
    finishing = asyncio.create_task(service.finish())
    await asyncio.sleep(0.01)
    assert not finishing.done()
    rollbacks.go.set()
    await finishing
    assert rollbacks.ended


async def test_a_rollback_needs_the_role_for_each_of_its_clusters():
    service = ActService(None, Log(), SlowRollbacks())
    with pytest.raises(AccessRefused, match="cluster edge"):
        await service.perform(acts.RollBackAct(revision="x"), identity(operate("live")))


ABOUT_HIDDEN = [
    acts.ApproveAct(plan="ef" * 4),
    acts.ApproveAct(plan="ef" * 32),
    acts.SuspendAct(cluster="hiden", reason="r"),
    acts.HoldAct(node="n9", until="4h", reason="r"),
    acts.HoldAct(node="n8", until="4h", reason="r"),
    acts.ReleaseAct(node="n9"),
    acts.RetryAct(target="hiden"),
    acts.RetryAct(target="n9"),
    acts.ResumeAct(cluster="edge"),
    acts.UnpinAct(cluster="edge"),
    acts.UnpinAct(cluster="edge-of-hiden"),
    acts.StopAct(node="n9"),
    acts.PurgeAct(targets=("a.example/x",)),
]


@pytest.mark.parametrize("act", ABOUT_HIDDEN, ids=range(len(ABOUT_HIDDEN)))
async def test_no_answer_names_a_cluster_that_the_caller_may_not_look_at(site, act):
    everybody = [operate(), approve()]
    await site.store.record_pass("hidden", ClusterFacts(members=AppliedMembers(1, ("n9",), "/repo")))
    await site.store.request_approval("hidden", "ef" * 32, "4be6bbe", "1 step")
    await site.perform(acts.SuspendAct(cluster="hidden", reason="hidden trouble"), *everybody)
    await site.perform(acts.HoldAct(node="hidden/n9", until="4h", reason="hidden disk"), *everybody)
    revision, left = Revision("/repo", "a" * 40, "aaaaaaa"), (LeftRevision("b" * 40, "bbbbbbb"),)
    await site.store.pin("hidden", revision, left, identity().make_actor())
    before = await site.store.orders()
    try:
        answer = repr(await site.perform(act, operate("edge*"), approve("edge*")))
    except ReconcilerError as error:
        answer = f"{error.message} {error.remedy}"
    assert "hidden" not in answer
    assert await site.store.orders() == before


async def test_what_is_not_there_and_what_is_hidden_get_the_same_answer(site):
    answers = []
    for name in ("live-1", "none-1"):
        with pytest.raises(AccessRefused) as caught:
            await site.perform(acts.HoldAct(node=name, until="4h", reason="r"), operate("edge"))
        answers.append(f"{caught.value.message} {caught.value.remedy}".replace(name, ""))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("act", [acts.StopAct(node="edge-1"), acts.PurgeAct(targets=("a.example/x",))])
async def test_whoever_operates_one_cluster_names_it_to_purge_and_to_stop(site, act):
    with pytest.raises(AccessRefused, match="for all clusters") as caught:
        await site.perform(act, operate("edge"))
    assert "name the cluster" in caught.value.remedy
    for cluster, kind in (("edge", OrderDenied), ("live", AccessRefused)):
        with pytest.raises(kind):
            await site.perform(act.model_copy(update={"cluster": cluster}), operate("edge"))
