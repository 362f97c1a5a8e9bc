"""What a store of any kind knows of nodes that poll: tokens, offers, calls, mail."""

from dataclasses import replace
from datetime import timedelta
from hashlib import sha256

import pytest
from support.offers import NOON, make_draft

from reconciler.core.actor import Actor
from reconciler.core.fleet_matching import FleetIdentity
from reconciler.core.offers import OfferFeed
from reconciler.core.operations import Operation, OperationResult, OperationState
from reconciler.core.secret import reveal
from reconciler.errors import ClusterBusy, UsageError
from reconciler.ports.node_store import CallRecord
from reconciler.store.factory import open_reader, open_store


class Clock:
    """A clock that a test sets."""

    def __init__(self):
        self.now = NOON

    def __call__(self):
        return self.now

    def forward(self, seconds):
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def store(url, clock):
    with open_store(url, clock=clock) as opened:
        yield await opened.enter_fleet(FleetIdentity("/srv/ours", name="ours"))


async def token_of(store, node, cluster="c"):
    tokens = await store.tokens(cluster, [node])
    return reveal(tokens[node].current)


def digest(token):
    return sha256(token.encode()).hexdigest()


async def counting(store):
    """(cluster, node) of every token that counts -> whether it is the current one."""
    changes = await store.read_changes(0)
    return {
        one.digest: (one.cluster, one.node, one.is_current) for one in changes.tokens if one.ended is None
    }


def call(node="a", **changes):
    return CallRecord(**{"fleet": 1, "cluster": "c", "node": node, "at": NOON, **changes})


async def test_a_store_that_does_not_exist_knows_no_nodes(url):
    with open_reader(url) as reader:
        assert await reader.tokens("c", ["a"]) == {}
        assert (await reader.mail("c", ["a"]))["a"].heard is None
        assert await reader.contacts() == ()
        assert await reader.operations() == ()


async def test_a_token_is_the_same_before_and_after_enrolment_and_in_another_process(store, url):
    before = await token_of(store, "a")
    await store.enrol("c", "m2", ["a", "b"])
    assert await token_of(store, "a") == before
    assert await token_of(store, "b") != before
    with open_store(url) as other:
        assert await token_of(other.select_fleet(1), "a") == before
    assert (await counting(store))[digest(before)] == ("c", "a", True)
    assert len(before) == 43


async def test_a_node_that_leaves_has_no_token_and_has_its_own_again_when_it_comes_back(store):
    await store.enrol("c", "m2", ["a", "b"])
    own = await token_of(store, "a")
    await store.enrol("c", "m2", ["b"])
    assert {place[1] for place in (await counting(store)).values()} == {"b"}
    (gone,) = [one for one in (await store.read_changes(0)).tokens if one.ended]
    assert (gone.digest, gone.node, gone.ended) == (digest(own), "a", NOON)
    await store.enrol("c", "m2", ["a", "b"])
    assert (await counting(store))[digest(own)] == ("c", "a", True)


async def test_after_a_rotation_both_tokens_count_until_the_new_one_is_used(store):
    await store.enrol("c", "m2", ["a"])
    old = await token_of(store, "a")
    await store.rotate("c", "a", Actor(user="ann"))
    tokens = (await store.tokens("c", ["a"]))["a"]
    new = reveal(tokens.current)
    assert (reveal(tokens.former), new != old) == (old, True)
    await store.record_calls([call(token=digest(old), feed=OfferFeed.SETTING)])
    assert await counting(store) == {digest(old): ("c", "a", False), digest(new): ("c", "a", True)}
    await store.record_calls([call(token=digest(new), feed=OfferFeed.SETTING)])
    assert await counting(store) == {digest(new): ("c", "a", True)}
    assert (await store.tokens("c", ["a"]))["a"].former is None
    (order,) = await store.list_past_orders()
    assert (order.kind, order.cluster, order.actor.user) == ("rotate", "c", "ann")


async def test_a_rotation_before_the_last_one_arrived_keeps_what_the_node_has(store):
    await store.enrol("c", "m2", ["a"])
    tokens = [await token_of(store, "a")]
    for _ in range(2):
        await store.rotate("c", "a", Actor())
        tokens.append(await token_of(store, "a"))
    assert set(await counting(store)) == set(map(digest, tokens))
    await store.record_calls([call(token=digest(tokens[1]), feed=OfferFeed.SETTING)])
    assert set(await counting(store)) == set(map(digest, tokens))
    await store.record_calls([call(token=digest(tokens[2]), feed=OfferFeed.SETTING)])
    assert set(await counting(store)) == {digest(tokens[2])}


async def test_only_a_node_with_a_token_can_get_another_one(store):
    with pytest.raises(UsageError, match="node a of cluster c has no token"):
        await store.rotate("c", "a", Actor())


async def test_an_offer_is_found_with_its_contents(store):
    draft = replace(make_draft("a", b"setting"), label="v1", parts=(b"setting", b"", b"x" * 5_000))
    offer = await store.offer(draft, "run-1", "rev-1")
    assert (offer.run, offer.step, offer.revision, offer.label) == ("run-1", "c/a/offer", "rev-1", "v1")
    assert (offer.last_modified, offer.closes) == (NOON, NOON + timedelta(minutes=1))
    assert await store.parts(offer) == draft.parts
    changes = await store.read_changes(0)
    assert changes.offers == {(1, "c", "a"): {OfferFeed.SETTING: (offer, None)}}


async def test_changes_are_told_once(store, url):
    await store.enrol("c", "m2", ["a"])
    await store.offer(make_draft("a"), "r", "v")
    first = await store.read_changes(0)
    assert await store.read_changes(first.position) == replace(first, tokens=None, offers={})
    with open_store(url) as other:
        offer = await other.select_fleet(1).offer(make_draft("b"), "r", "v")
        await other.suspend("c", "storm", Actor())
    second = await store.read_changes(first.position)
    assert second.tokens is None
    assert second.offers == {(1, "c", "b"): {OfferFeed.SETTING: (offer, None)}}
    assert (1, "c") in second.suspended
    await store.enrol("c", "m2", ["a", "b"])
    assert len((await store.read_changes(second.position)).tokens) == 2


async def test_an_offer_replaces_one_that_was_not_taken(store):
    first = await store.offer(make_draft("a", b"1"), "r1", "v1")
    second = await store.offer(make_draft("a", b"2"), "r2", "v2")
    assert second.last_modified > first.last_modified
    refused = await store.record_calls([call(feed=OfferFeed.SETTING, took=first.id)])
    assert refused == {first.id}
    assert await store.record_calls([call(feed=OfferFeed.SETTING, took=second.id)]) == frozenset()
    third = await store.offer(make_draft("a", b"3"), "r3", "v3")
    ((newest, taken),) = [feeds[OfferFeed.SETTING] for feeds in (await store.read_changes(0)).offers.values()]
    assert (newest, taken) == (third, replace(second, taken=NOON))
    assert await store.record_calls([call(feed=OfferFeed.SETTING, took=second.id)]) == frozenset()


async def test_the_same_offer_of_the_same_step_is_one(store, clock):
    first = await store.offer(make_draft("a", b"1"), "r1", "v1")
    clock.forward(9)
    assert await store.offer(make_draft("a", b"1"), "r1", "v1") == first
    assert await store.offer(make_draft("a", b"1"), "r2", "v1") != first


async def test_a_withdrawn_offer_cannot_be_taken(store):
    offer = await store.offer(make_draft("a"), "r", "v")
    await store.withdraw("c", ["a", "unknown"], OfferFeed.SETTING)
    assert await store.record_calls([call(feed=OfferFeed.SETTING, took=offer.id)]) == {offer.id}


async def test_last_modified_is_later_than_what_the_node_has_asked_for(store):
    await store.enrol("c", "m2", ["a"])
    asked = NOON + timedelta(hours=2)
    await store.record_calls(
        [
            call(feed=OfferFeed.SETTING, asked=asked),
            call(feed=OfferFeed.SETTING, asked=NOON + timedelta(days=900)),
        ]
    )
    offer = await store.offer(make_draft("a"), "r", "v")
    assert offer.last_modified == asked + timedelta(seconds=1)
    assert (await store.offer(make_draft("b"), "r", "v")).last_modified == NOON


async def test_the_mail_has_what_the_node_sent_and_was_offered(store, clock):
    await store.enrol("c", "m2", ["a", "b"])
    draft = replace(make_draft("a", b"new"), label="v2", content="f", former=(b"old",))
    offer = await store.offer(draft, "r", "v")
    await store.record_calls(
        [
            call(feed=OfferFeed.SETTING, label="v1"),
            call(kind="setting.feedback", body=b"{}", content=b"whole", at=NOON + timedelta(seconds=5)),
            call(feed=OfferFeed.SETTING, label="v2", took=offer.id, at=NOON + timedelta(seconds=10)),
            call(kind="setting.feedback", body=b'{"n": 2}', at=NOON + timedelta(seconds=20)),
        ]
    )
    clock.forward(30)
    mail = await store.mail("c", ["a", "b", "c"])
    own, other = mail["a"], mail["b"]
    assert {kind: (item.body, item.age) for kind, item in own.items.items()} == {
        "setting.feedback": (b'{"n": 2}', 10.0)
    }
    assert (own.content.body, own.content.age, own.heard) == (b"whole", 25.0, 10.0)
    assert (own.label.text, own.label.age, own.label.other_age) == ("v2", 20.0, 30.0)
    (offered,) = own.offers
    assert (offered.offer.id, offered.parts, offered.is_label_unique) == (offer.id, (b"new",), True)
    assert (offered.taken_age, offered.former) == (20.0, (b"old",))
    assert (other.heard, other.label, other.offers) == (None, None, ())
    assert mail["c"] == other


async def test_the_report_about_an_offer_stays_whatever_the_node_reports_later(store):
    offer = await store.offer(make_draft("a"), "r", "v")
    await store.offer(make_draft("b"), "r", "v")
    await store.record_calls(
        [
            call(feed=OfferFeed.SETTING, took=offer.id),
            call(kind="setting.feedback", body=b"failed", offer=offer.id, about=OfferFeed.SETTING),
            call(kind="setting.feedback", body=b"booted", at=NOON + timedelta(seconds=5)),
            call("b", kind="setting.feedback", body=b"forged", offer=offer.id, about=OfferFeed.SETTING),
        ]
    )
    mail = await store.mail("c", ["a", "b"])
    assert mail["a"].items["setting.feedback"].body == b"booted"
    assert mail["a"].offers[0].report.body == b"failed"
    assert mail["b"].offers[0].report is None


def about(offer, body, *, feed=OfferFeed.SETTING, succeeded=True, **more):
    """A report of the node about an offer."""
    state = OperationState.DONE if succeeded else OperationState.FAILED
    result = OperationResult("a", state, "" if succeeded else "no room")
    kind = f"{feed}.feedback"
    return call(kind=kind, body=body, content=body, offer=offer, about=feed, result=result, **more)


async def test_only_a_report_of_the_kind_of_an_offer_proves_something_about_it(store):
    offer = await store.offer(make_draft("a"), "r", "v")
    draft = replace(make_draft("a", b"purge"), feed=OfferFeed.PURGE)
    purge = await store.offer(draft, "op", "")
    await store.record_calls(
        [
            call(feed=OfferFeed.SETTING, took=offer.id),
            call(feed=OfferFeed.PURGE, took=purge.id),
            about(offer.id, b"failed", succeeded=False),
            call(kind="heartbeat.feedback", body=b"beat", offer=offer.id),
            about(offer.id, b"purged", feed=OfferFeed.PURGE),
            about(purge.id, b"loaded another", succeeded=True),
        ]
    )
    mail = (await store.mail("c", ["a"]))["a"]
    assert mail.offers[0].report.body == b"failed"
    assert mail.items["heartbeat.feedback"].body == b"beat"


async def test_a_report_that_comes_again_does_not_undo_a_newer_one(store):
    first = await store.offer(make_draft("a", b"1"), "r1", "v")
    await store.record_calls([call(feed=OfferFeed.SETTING, took=first.id)])
    early = about(first.id, b"first")
    await store.record_calls([about(first.id, b"no room", succeeded=False), early])
    second = await store.offer(make_draft("a", b"2"), "r2", "v")
    await store.record_calls([call(feed=OfferFeed.SETTING, took=second.id), about(second.id, b"second")])
    dated = replace(early, offer="", modified=first.last_modified)
    pruned = replace(early, offer="0123456789abcdef", modified=first.last_modified)
    failed = about(first.id, b"no room", succeeded=False)
    for again in (early, failed, dated, pruned):
        await store.record_calls([again])
        mail = (await store.mail("c", ["a"]))["a"]
        assert mail.items["setting.feedback"].body == b"second"
        assert mail.content.body == b"second"
        assert mail.offers[0].report.body == b"second"
    # What a node says of the offer itself: a failure does not take a success back, and the other way round.
    await store.record_calls([about(second.id, b"no room", succeeded=False)])
    mail = (await store.mail("c", ["a"]))["a"]
    assert mail.offers[0].report.body == b"second"
    third = await store.offer(make_draft("a", b"3"), "r3", "v")
    await store.record_calls([call(feed=OfferFeed.SETTING, took=third.id)])
    await store.record_calls([about(third.id, b"no room", succeeded=False), about(third.id, b"third")])
    assert (await store.mail("c", ["a"]))["a"].offers[0].report.body == b"third"


async def test_a_report_about_an_offer_that_is_not_known_is_news_unless_its_date_is_an_earlier_one(store):
    offer = await store.offer(make_draft("a", b"1"), "r1", "v")
    await store.record_calls([call(feed=OfferFeed.SETTING, took=offer.id), about(offer.id, b"first")])
    later = offer.last_modified + timedelta(seconds=1)
    for body, modified in ((b"of a lost state", later), (b"by a call", None), (b"again", later)):
        await store.record_calls([about("lost", body, modified=modified)])
        assert (await store.mail("c", ["a"]))["a"].content.body == body


async def test_an_offer_in_spite_of_a_suspension_is_taken_until_the_next_suspension(store):
    await store.suspend("c", "night", Actor())
    despite = frozenset({"suspended", "frozen"})
    for node in "ab":
        await store.offer(replace(make_draft(node), despite=despite), "r", "v")
    plain = await store.offer(make_draft("c"), "r", "v")
    newest = await store.newest_offers("c", OfferFeed.SETTING)
    assert newest["a"].despite == despite
    took = {node: call(node, feed=OfferFeed.SETTING, took=newest[node].id) for node in "abc"}
    assert await store.record_calls([took["a"], took["c"]]) == {plain.id}
    before = (await store.read_changes(0)).position
    await store.suspend("", "everything", Actor())
    assert {place[2] for place in (await store.read_changes(before)).offers} == {"b"}
    newest = await store.newest_offers("c", OfferFeed.SETTING)
    assert (newest["a"].despite, newest["b"].despite) == (despite, {"frozen"})
    assert await store.record_calls([took["b"]]) == {newest["b"].id}
    assert await store.record_calls([took["a"]]) == frozenset()


async def test_a_text_that_is_none_fails_no_call_of_another_node(store):
    await store.enrol("c", "m2", ["a", "b"])
    bad = "\ud800\x00"
    result = OperationResult(bad, OperationState.FAILED, bad)
    await store.record_calls(
        [
            call("a", feed=OfferFeed.SETTING, label=bad, address=bad),
            call("a", kind="setting.feedback", clash=bad, offer=bad, result=result, about=OfferFeed.SETTING),
            call("b", kind="setting.feedback", body=b"{}"),
            call(bad, feed=OfferFeed.SETTING),
            call("a", feed=OfferFeed.SETTING, token=bad),
        ]
    )
    assert (await store.mail("c", ["b"]))["b"].items["setting.feedback"].body == b"{}"
    (contact, _) = await store.contacts()
    assert contact.clash == contact.label == "\\ud800\\x00"
    assert await store.record_calls([call("a", feed=OfferFeed.SETTING, took=bad)]) == {bad}


async def test_a_clock_that_was_wrong_for_a_while_keeps_no_node_fresh(store, clock):
    await store.enrol("c", "m2", ["a", "b"])
    later = NOON + timedelta(days=900)
    for node in "ab":
        await store.record_calls([call(node, at=later, feed=OfferFeed.SETTING, label="v1")])
    await store.record_calls([call("a", feed=OfferFeed.SETTING, label="v1")])
    clock.forward(60)
    mail = await store.mail("c", ["a", "b"])
    assert (mail["a"].heard, mail["a"].label.age) == (60.0, 60.0)
    assert mail["b"].heard < 0


async def test_calls_with_both_tokens_in_one_batch_are_those_of_one_node(store):
    await store.enrol("c", "m2", ["a"])
    old = await token_of(store, "a")
    await store.rotate("c", "a", Actor())
    new = await token_of(store, "a")
    await store.record_calls(
        [
            call(token=digest(old), feed=OfferFeed.SETTING, label="v1"),
            call(token=digest(new), kind="heartbeat", clash="odd"),
            call(token=digest(old), feed=OfferFeed.PURGE, address="192.0.2.1"),
        ]
    )
    (contact,) = await store.contacts()
    assert (contact.label, contact.clash, contact.address) == ("v1", "odd", "192.0.2.1")
    assert set(await counting(store)) == {digest(new)}


async def test_a_label_with_two_contents_proves_nothing(store):
    unique = []
    for run, content in enumerate(("x", "x", "y", "x")):
        draft = replace(make_draft("a", content.encode()), label="1", content=content)
        await store.offer(draft, f"run-{run}", "v")
        (offered,) = (await store.mail("c", ["a"]))["a"].offers
        unique.append(offered.is_label_unique)
    assert unique == [True, True, False, False]
    await store.offer(replace(make_draft("b", b"x"), label="1", content="x"), "r", "v")
    assert (await store.mail("c", ["b"]))["b"].offers[0].is_label_unique


async def test_contacts_tell_when_each_node_was_heard(store):
    await store.enrol("c", "m2", ["b", "a"])
    await store.record_calls(
        [
            call("a", feed=OfferFeed.PURGE, address="192.0.2.1"),
            call("a", kind="heartbeat.feedback", body=b"{}", clash="calls itself z"),
        ]
    )
    first, second = await store.contacts()
    assert first.heard == {"poll": NOON, "heartbeat.feedback": NOON}
    assert (first.node, first.address, first.clash) == ("a", "192.0.2.1", "calls itself z")
    assert (second.node, second.heard) == ("b", {})
    await store.enrol("c", "m2", ["b"])
    assert [one.node for one in await store.contacts()] == ["b"]


async def test_calls_of_a_renamed_cluster_are_not_lost(store):
    await store.enrol("c", "m2", ["a"])
    token = await token_of(store, "a")
    await store.store_facts("c", {"a": {"k": "v"}})
    await store.rename_cluster("c", "d", Actor())
    await store.record_calls([call(token=digest(token), kind="heartbeat.feedback", body=b"{}")])
    assert "heartbeat.feedback" in (await store.mail("d", ["a"]))["a"].items
    assert await token_of(store, "a", "d") == token
    await store.enrol("c", "m2", ["a"])
    assert await token_of(store, "a", "c") != token


async def test_an_operation_counts_each_node_once(store):
    operation = Operation(
        id="op-1",
        kind="purge",
        cluster="c",
        targets=("www.example.com/*",),
        actor=Actor(user="ann"),
        at=NOON,
        deadline=NOON + timedelta(hours=1),
        waves=(("a",), ("b",)),
    )
    await store.begin_operation(operation)
    assert await store.operations() == (operation,)
    draft = replace(make_draft("a", b"purge"), feed=OfferFeed.PURGE)
    offer = await store.offer(draft, "op-1", "")
    await store.record_calls([call(feed=OfferFeed.PURGE, took=offer.id)])
    (taken,) = await store.operations()
    assert {node: one.state for node, one in taken.results.items()} == {"a": OperationState.SENT}
    done = OperationResult("a", OperationState.DONE, totals={"count": 3.0}, at=NOON)
    report = call(kind="purge.feedback", body=b"{}", offer=offer.id, result=done, about=OfferFeed.PURGE)
    await store.record_calls([report, report])
    await store.record_results("op-1", [OperationResult("b", OperationState.OVERDUE, at=NOON)])
    await store.record_results("op-1", [OperationResult("a", OperationState.FAILED, "late", at=NOON)])
    (over,) = await store.operations()
    assert over.add_totals() == {"count": 3.0}
    assert over.count_states() == {OperationState.DONE: 1, OperationState.OVERDUE: 1}


def purge(name, cluster="c", **more):
    more = {"at": NOON, "deadline": NOON + timedelta(seconds=60), "waves": (("a", "b"),), **more}
    return Operation(
        id=name, kind="purge", cluster=cluster, targets=("x.com/*",), actor=Actor("kim"), direct=True, **more
    )


async def test_an_operation_is_open_until_it_is_ended(store):
    for name in ("20261130-1", "20261130-2"):
        await store.begin_operation(purge(name))
    await store.record_results("20261130-1", [OperationResult("a", OperationState.SENT)])
    assert [one.id for one in await store.open_operations()] == ["20261130-1", "20261130-2"]
    await store.end_operation("20261130-1")
    await store.end_operation("20261130-1")
    assert [one.id for one in await store.open_operations()] == ["20261130-2"]
    assert (await store.operation("20261130-1")).result("a").state is OperationState.SENT


async def test_an_operation_is_found_by_the_beginning_of_its_id(store):
    await store.begin_operation(purge("20261130-1"))
    await store.begin_operation(purge("20261130-12"))
    assert (await store.operation("20261130-12")).id == "20261130-12"
    assert (await store.operation("20261130-1")).id == "20261130-1"
    for text in ("2026", "", "%", "x"):
        with pytest.raises(UsageError, match="operations begin with"):
            await store.operation(text)


async def test_a_skipped_node_stays_skipped_unless_it_reports(store):
    await store.begin_operation(purge("one"))
    states = [OperationState.SKIPPED, OperationState.SENT, OperationState.OVERDUE]
    for state in states:
        await store.record_results("one", [OperationResult("a", state)])
    assert (await store.operation("one")).result("a").state is OperationState.SKIPPED
    await store.record_results("one", [OperationResult("a", OperationState.DONE)])
    assert (await store.operation("one")).result("a").state is OperationState.DONE


async def test_the_newest_offers_of_a_cluster_in_one_reading(store):
    await store.enrol("c", "m2", ["a", "b", "d"])
    for node, run in (("a", "one"), ("a", "two"), ("b", "one")):
        draft = replace(make_draft(node), feed=OfferFeed.PURGE, step=f"c/{node}/purge")
        await store.offer(draft, run, "")
    found = await store.newest_offers("c", OfferFeed.PURGE)
    assert {node: offer.run for node, offer in found.items()} == {"a": "two", "b": "one"}
    assert await store.newest_offers("c", OfferFeed.SETTING) == {}
    assert await store.newest_offers("other", OfferFeed.PURGE) == {}


async def test_operations_are_held_apart_from_runs(store):
    async with store.lock_operations("c"):
        async with store.lock("c"), store.lock_operations("d"):
            pass
        with pytest.raises(ClusterBusy):
            async with store.lock_operations("c"):
                pass
    async with store.lock_operations("c"):
        pass


async def test_the_statuses_of_a_repository_are_written_by_one_at_a_time(store):
    async with store.lock_statuses("https://git.example.com/api/v4 3 reconcile"):
        async with store.lock("c"), store.lock_statuses("another"):
            pass
        with pytest.raises(ClusterBusy, match="commit statuses are written by"):
            async with store.lock_statuses("https://git.example.com/api/v4 3 reconcile"):
                pass
    async with store.lock_statuses("https://git.example.com/api/v4 3 reconcile"):
        pass
