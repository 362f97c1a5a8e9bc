"""Waves of nodes that poll: each pass offers and ends, and a later pass goes on with the same wave."""

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from support.driver import REVISION, Killed
from support.polled_nodes import FRESH, LASTS, Polled, PolledSite, make_revision

from reconciler.core.actor import Actor
from reconciler.core.plan import Risk
from reconciler.core.policy import Policy
from reconciler.core.rollout_rules import Rollout
from reconciler.errors import GuardRefusal
from reconciler.rollout import wave_runner
from reconciler.server.pass_result import PassResult, summarise_apply_pass, summarise_plan_pass
from reconciler.store.factory import open_store

NEXT, THIRD = make_revision("1111111"), make_revision("2222222")


@pytest.fixture
async def site(tmp_path):
    sites = []
    with open_store(tmp_path, clock=lambda: sites[0].time) as store:
        sites.append(PolledSite(store, rollout=Rollout(canary=1, waves="100%")))
        await store.enrol("barn", "fake", list("abcde"))
        for name in "abcd":
            await sites[0].poll(name)
        yield sites[0]


def states(report):
    return {outcome.step.node: outcome.state.value for outcome in report.outcomes}


def codes(found):
    return {finding.code for finding in found}


def summarise(seen, report=None):
    (context,) = seen.guard_contexts
    if report is None:
        return summarise_plan_pass(context.plan, context.observed, seen.violations)
    return summarise_apply_pass(context.plan, context.observed, report)


async def test_a_wave_is_offered_and_the_pass_ends_calmly(site):
    seen = await site.look()
    report = await site.apply()
    assert states(report) == {"a": "offered", "b": "skipped", "c": "skipped", "d": "skipped"}
    assert codes(report.findings) == {"wave-waits"}
    assert report.exit_status == 5
    assert summarise(seen, report).result is PassResult.WAITING
    assert await site.offered() == {"a": "new"}
    assert site.soak.waited == []


async def test_while_a_wave_waits_nothing_is_sent_and_nothing_is_written(site):
    first = await site.apply()
    await site.later(5, "b", "c", "d")
    seen = await site.look()
    again = await site.apply()
    assert (again.run, again.outcomes) == ("", ())
    assert [run.id for run in await site.store.runs()] == [first.run]
    summary = summarise(seen)
    assert (summary.result, summary.is_good) == (PassResult.WAITING, False)
    assert "wave 1 waits: 0 done; 1 of its nodes (a) may still take effect" in summary.message


async def test_a_later_pass_goes_on_with_the_next_wave_of_the_same_rollout(site):
    await site.apply()
    await site.later(5, *"abcd")
    report = await site.apply()
    assert states(report) == {"b": "offered", "c": "offered", "d": "offered"}
    progress = await site.progress()
    assert (progress.number, progress.total, progress.passed) == (2, 4, ("a",))
    await site.later(5, *"abcd")
    assert (await site.apply()).is_success
    assert site.values == dict.fromkeys("abcd", "new")
    assert await site.progress() is None
    assert (await site.apply()).run == ""


async def test_a_node_that_reports_a_failure_rejects_the_revision(site):
    await site.apply()
    site.nodes["a"].fails = "no room"
    await site.later(5, *"abcd")
    report = await site.apply()
    assert "gate-failed" in codes(report.findings)
    assert await site.rejected() == [REVISION.short]
    assert await site.offered() == {"a": "new"}, "what was taken stays served"


async def test_a_silent_canary_rejects_nothing_and_the_wave_waits_until_it_is_heard(site):
    await site.apply()
    for _ in range(8):
        await site.later(LASTS, *"bcd")
        await site.apply()
    assert await site.rejected() == []
    assert site.values == {"a": "old", "b": "old", "c": "old", "d": "old"}
    assert len(await site.store.runs()) == 1
    assert "1 of its nodes (a) overdue or not heard" in summarise(await site.look()).message
    await site.later(1, *"abcd")
    assert states(await site.apply())["a"] == "offered"
    await site.later(1, *"abcd")
    assert states(await site.apply()) == {"b": "offered", "c": "offered", "d": "offered"}


async def test_a_wave_tolerates_overdue_nodes_as_far_as_the_rollout_allows(site):
    site.rollout = Rollout(waves=("50%",), max_unknown=1)
    await site.apply()
    await site.later(5, *"acd")
    assert (await site.apply()).run == "", "it waits until the silent one is overdue"
    await site.later(LASTS, *"acd")
    report = await site.apply()
    assert states(report) == {"c": "offered", "d": "offered"}
    await site.later(5, *"acd")
    assert (await site.apply()).is_success
    assert site.values == {"a": "new", "b": "old", "c": "new", "d": "new"}
    assert await site.progress() is None
    await site.later(5, *"abcd")
    assert states(await site.apply()) == {"b": "offered"}
    await site.later(5, *"abcd")
    assert (await site.apply()).is_success
    assert site.values == dict.fromkeys("abcd", "new")


async def test_a_wave_of_which_no_node_shows_its_content_never_passes(site):
    site.rollout = Rollout(waves=("50%",), max_unknown="100%")
    await site.apply()
    await site.later(LASTS + 5, *"cd")
    await site.apply()
    assert await site.offered() == {}
    assert (await site.progress()).number == 1


async def test_an_overdue_node_that_polls_again_and_again_is_stalled_and_rejects_nothing(site):
    site.rollout = Rollout(waves=("50%",), max_unknown=1)
    await site.apply()
    for _ in range(12):
        await site.later(LASTS / 2, *"acd")
        await site.poll("b", loads=False)
        await site.apply()
    assert site.values == {"a": "new", "b": "old", "c": "new", "d": "new"}
    assert await site.rejected() == []
    seen = await site.look()
    assert "node-stalled" in codes(seen.plan.findings())
    assert (await site.apply()).run == ""


async def test_a_newer_revision_replaces_an_offer_that_was_not_taken(site):
    first = await site.apply()
    newer = site.wanted("newer")
    report = await site.apply(newer, revision=NEXT)
    assert states(report)["a"] == "offered"
    assert await site.offered() == {"a": "newer"}
    (entry,) = [one for one in (await site.store.run(first.run)).entries if one.step.node == "a"]
    assert (entry.state.value, entry.reason) == (
        "skipped",
        "the offer was withdrawn: revision 1111111 replaced it",
    )
    for _ in range(3):
        await site.later(5, *"abcd")
        await site.apply(newer, revision=NEXT)
    assert site.values == dict.fromkeys("abcd", "newer")


async def test_an_offer_of_a_node_whose_turn_has_not_come_in_the_newer_rollout_is_withdrawn(site):
    site.rollout = Rollout(waves="50%")
    await site.apply()
    assert await site.offered() == {"a": "new", "b": "new"}
    site.rollout = Rollout(waves=1)
    await site.apply(site.wanted("newer"), revision=NEXT)
    assert await site.offered() == {"a": "newer"}
    assert [offer and offer.label for offer in await site.later(5, *"abcd")] == ["newer", None, None, None]


@pytest.mark.parametrize("in_waves", [True, False])
async def test_an_offer_to_a_node_that_fell_silent_is_withdrawn_by_a_newer_revision(site, in_waves):
    site.rollout = Rollout(canary=1) if in_waves else None
    await site.apply()
    await site.later(FRESH + 1, *"bcd")
    await site.apply(site.wanted("newer"), revision=NEXT)
    assert await site.poll("a") is None, "a takes what an older revision offered it"
    await site.later(5, *"bcd")
    for _ in range(3):
        await site.apply(site.wanted("newer"), revision=NEXT)
        await site.later(5, *"abcd")
    assert site.values == dict.fromkeys("abcd", "newer")
    assert not await site.store.is_open("barn")


async def test_an_offer_of_what_a_node_has_already_is_withdrawn(site):
    await site.apply()
    assert await site.offered() == {"a": "new"}
    site.nodes["a"].value = "new"  # by an earlier offer of the same content, or by hand
    site.time += timedelta(seconds=5)
    await site.report("a", "value", {"value": "new"})
    await site.settle()
    assert await site.offered() == {}
    assert await site.poll("a") is None


async def test_an_offer_to_a_node_that_fell_silent_stays_where_its_content_stays(site):
    await site.apply()
    await site.later(FRESH + 1, *"bcd")
    await site.apply(site.wanted(names="abcde"), revision=NEXT)
    assert await site.poll("a") is not None


async def test_going_back_before_the_offer_was_taken_withdraws_it(site):
    await site.apply()
    report = await site.apply(site.wanted("old"), revision=NEXT)
    assert report.run == ""
    assert await site.offered() == {}
    assert await site.later(5, *"abcd") == [None] * 4
    assert site.values == dict.fromkeys("abcd", "old")
    assert not await site.store.is_open("barn")


async def test_what_was_taken_stays_served_and_the_next_content_is_offered_later(site):
    await site.apply()
    await site.later(5)
    taken = await site.poll("a", loads=False, reports=False)
    await site.apply(site.wanted("newer"), revision=NEXT)
    offers = (await site.store.read_changes(0)).offers[0, "barn", "a"]
    current, last = next(iter(offers.values()))
    assert (current.label, last.id) == ("newer", taken.id)
    assert current.last_modified > last.last_modified
    assert await site.store.parts(last) == (b"new",)


async def test_a_commit_that_changes_no_content_makes_no_further_offer(site):
    await site.apply()
    before = (await site.store.read_changes(0)).position
    await site.apply(revision=NEXT)
    assert (await site.store.read_changes(before)).offers == {}


async def test_a_node_that_joins_keeps_the_rollout_and_comes_in_a_later_wave(site):
    await site.apply()
    await site.poll("e")
    wanted = site.wanted(names="abcde")
    await site.later(5, *"abcde")
    report = await site.apply(wanted, revision=NEXT)
    assert states(report) == dict.fromkeys("bcde", "offered")
    progress = await site.progress()
    assert (progress.number, progress.total, progress.passed) == (2, 5, ("a",))


async def test_a_node_that_joins_while_a_wave_waits_does_not_end_the_rollout(site):
    await site.apply()
    await site.poll("e")
    wanted = site.wanted(names="abcde")
    assert (await site.apply(wanted, revision=NEXT)).run == ""
    assert (await site.progress()).number == 1
    await site.later(5, *"abcde")
    assert states(await site.apply(wanted, revision=NEXT)) == dict.fromkeys("bcde", "offered")


async def test_an_offered_revision_counts_as_applied(site):
    await site.apply()
    assert (await site.store.read_memory()).get_cluster_memory("barn").applied == REVISION


async def test_a_node_that_leaves_drops_out_of_the_wave_and_its_offer_ends(site):
    site.rollout = Rollout(waves="50%")
    await site.apply()
    wanted = site.wanted(names="acd")
    await site.later(5, *"acd")
    report = await site.apply(wanted, revision=NEXT)
    assert states(report) == {"c": "offered", "d": "skipped"}
    progress = await site.progress()
    assert (progress.number, progress.total, progress.passed) == (2, 3, ("a",))
    tokens = {token.node: token.ended for token in (await site.store.read_changes(0)).tokens}
    assert tokens["b"] is not None
    assert tokens["a"] is None
    assert "b" not in await site.offered()
    for _ in range(2):
        await site.later(5, *"acd")
        report = await site.apply(wanted, revision=NEXT)
    assert report.is_success


async def test_a_suspension_hides_offers_and_resuming_goes_on_with_the_same_wave(site):
    await site.apply()
    await site.store.suspend("barn", "night", Actor())
    assert await site.later(5, *"abcd") == [None] * 4
    await site.later(LASTS, *"abcd")
    await site.settle()
    await site.store.resume("barn", Actor())
    assert states(await site.apply())["a"] == "offered"
    progress = await site.progress()
    assert (progress.number, progress.total) == (1, 4)
    await site.later(5, *"abcd")
    await site.apply()
    assert await site.rejected() == []
    assert site.values["a"] == "new"


async def test_an_offer_that_is_suspended_is_withdrawn_when_its_revision_is_replaced(site):
    await site.apply()
    await site.store.suspend("barn", "night", Actor())
    with pytest.raises(Exception, match="night"):
        await site.apply(site.wanted("newer"), revision=NEXT)
    await site.store.resume("barn", Actor())
    assert await site.later(5, *"abcd") == [None] * 4


async def test_a_run_that_is_killed_in_the_middle_of_a_wave_offers_the_rest_of_it(site):
    class Dying(Polled):
        async def act(self, step, transports, payloads):
            if step.node == "b":
                raise Killed
            return await super().act(step, transports, payloads)

    site.rollout, site.driver = Rollout(waves=3), Dying()
    with pytest.raises(Killed):
        await site.apply()
    site.driver = Polled()
    await site.apply()
    assert await site.offered() == dict.fromkeys("abc", "new")
    await site.later(5, *"abcd")
    assert states(await site.apply()) == {"d": "offered"}


async def test_a_failed_wave_is_taken_back_by_offers(site):
    site.rollout = Rollout(waves=3, on_failure="return")
    await site.apply()
    site.nodes["b"].fails = "no room"
    await site.later(5, *"abd")  # c has not taken its offer
    assert site.values == {"a": "new", "b": "old", "c": "old", "d": "old"}
    report = await site.apply()
    assert codes(report.findings) == {"gate-failed", "offered-back"}
    assert await site.rejected() == [REVISION.short]
    site.nodes["b"].fails = ""
    taken = await site.later(5, *"abcd")
    assert [offer and offer.label for offer in taken] == ["old", None, None, None]
    assert site.values == dict.fromkeys("abcd", "old")
    assert [one.state.value for one in await site.settle()] == ["done"]
    undoing, _, first = await site.store.runs()
    assert (undoing.trigger, undoing.counts) == ("undo", {"done": 1})
    assert first.counts == {"done": 1, "failed": 1, "skipped": 2}
    assert not await site.store.is_open("barn")


async def test_going_back_is_later_than_what_was_taken_also_if_nothing_shows_yet(site):
    site.rollout = Rollout(waves=2, on_failure="return")
    await site.apply()
    site.nodes["b"].fails = "no room"
    await site.later(5, "b")
    slow = await site.poll("a", loads=False)
    await site.apply()
    offers = (await site.store.read_changes(0)).offers[0, "barn", "a"]
    current, last = next(iter(offers.values()))
    assert (last.id, current.label) == (slow.id, "old")
    assert current.last_modified > slow.last_modified
    site.nodes["a"].value = "new"  # it loads what it took
    await site.later(5, "a")
    assert site.values["a"] == "old"


async def test_with_stop_what_nobody_has_taken_is_not_taken_any_more_and_the_rest_stays(site):
    site.rollout = Rollout(waves=3, on_failure="stop")
    await site.apply()
    site.nodes["b"].fails = "no room"
    await site.later(5, *"ab")
    await site.apply()
    assert await site.later(5, *"cd") == [None, None]
    assert site.values == {"a": "new", "b": "old", "c": "old", "d": "old"}


async def test_offers_of_a_failed_wave_are_withdrawn_also_where_another_version_made_them(site, monkeypatch):
    site.rollout = Rollout(waves=3, on_failure="stop")
    await site.apply()
    site.nodes["b"].fails = "no room"
    await site.later(5, *"ab")
    monkeypatch.setattr(wave_runner, "__version__", "99.0")
    await site.apply()
    assert await site.rejected() == [REVISION.short]
    assert await site.later(5, *"cd") == [None, None]


async def test_nodes_go_back_from_offers_that_another_version_made(site, monkeypatch):
    site.rollout = Rollout(waves=3, on_failure="return")
    await site.apply()
    site.nodes["b"].fails = "no room"
    await site.later(5, *"ab")
    monkeypatch.setattr(wave_runner, "__version__", "99.0")
    report = await site.apply()
    assert codes(report.findings) == {"gate-failed", "offered-back"}
    site.nodes["b"].fails = ""
    assert [offer and offer.label for offer in await site.later(5, *"abc")] == ["old", None, None]
    assert site.values == dict.fromkeys("abcd", "old")


async def test_a_node_that_sleeps_through_its_way_back_is_offered_it_again(site):
    site.rollout = Rollout(waves=2, on_failure="return")
    await site.apply()
    site.nodes["b"].fails = "no room"
    await site.later(5, *"ab")
    await site.apply()
    site.nodes["b"].fails = ""
    for _ in range(3):
        await site.later(86_400, *"bcd")
        with suppress(GuardRefusal):
            await site.apply()
    await site.later(5, "a")
    assert site.values["a"] == "old"
    with suppress(GuardRefusal):
        await site.apply()
    assert (await site.store.read_memory()).get_cluster_memory("barn").pending_returns == ()


@pytest.mark.parametrize("later", ["stop", "return"])
async def test_an_earlier_way_back_outlives_a_later_failed_wave(site, later):
    site.rollout = Rollout(waves=2, on_failure="return")
    await site.apply()
    site.nodes["b"].fails = "no room"
    await site.later(5, *"ab")
    await site.apply()  # `a` is to go back, and sleeps
    site.nodes["b"].fails = ""
    site.rollout = Rollout(waves=(1, "100%"), canary=1, on_failure=later)
    fix = site.wanted("fixed", names="bcd")
    await site.apply(fix, revision=NEXT)
    site.nodes["b"].fails = "no room either"
    await site.later(5, *"bcd")
    await site.apply(fix, revision=NEXT)
    assert NEXT.short in await site.rejected()
    (own, *_) = (await site.store.read_memory()).get_cluster_memory("barn").pending_returns
    assert (own.revision.id, list(own.offers), own.goes_back) == (REVISION.id, ["a"], True)


@pytest.mark.parametrize("later", ["stop", "return"])
async def test_a_node_goes_back_although_a_later_revision_was_offered_to_it_in_between(site, later):
    site.rollout = Rollout(waves=2, on_failure="return")
    await site.apply()
    site.nodes["b"].fails = "no room"
    await site.later(5, *"ab")
    await site.apply()  # `a` is to go back, and sleeps
    site.nodes["b"].fails = ""
    site.rollout = Rollout(waves=2, on_failure=later)
    fix = site.wanted("fixed")
    await site.apply(fix, revision=NEXT)
    assert (await site.offered())["a"] == "fixed"
    site.nodes["b"].fails = "no room either"
    await site.later(5, "b")
    for _ in range(2):
        with suppress(GuardRefusal):
            await site.apply(fix, revision=NEXT)
    assert NEXT.short in await site.rejected()
    site.nodes["b"].fails = ""
    await site.later(5, *"abcd")
    assert site.values["a"] == "old"
    with suppress(GuardRefusal):
        await site.apply(fix, revision=NEXT)
    assert (await site.store.read_memory()).get_cluster_memory("barn").pending_returns == ()


async def test_going_back_waits_for_the_end_of_a_suspension(site):
    site.rollout = Rollout(waves=2, on_failure="return")
    await site.apply()
    site.nodes["b"].fails = "no room"
    await site.later(5, *"ab")
    await site.apply()
    await site.store.suspend("barn", "night", Actor())
    site.nodes["b"].fails = ""
    await site.later(90_000, *"abcd")
    with suppress(GuardRefusal):
        await site.apply()
    assert site.values["a"] == "new"
    await site.store.resume("barn", Actor())
    with suppress(GuardRefusal):
        await site.apply()
    await site.later(5, *"abcd")
    assert site.values == dict.fromkeys("abcd", "old")


async def test_a_fix_replaces_the_way_back_node_by_node(site):
    site.rollout = Rollout(waves=2, on_failure="return")
    await site.apply()
    site.nodes["b"].fails = "no room"
    await site.later(5, *"ab")
    await site.apply()
    site.nodes["b"].fails = ""
    site.rollout = Rollout(waves=1)
    fix = site.wanted("fixed")
    await site.apply(fix, revision=NEXT)
    assert await site.offered() == {"a": "fixed", "b": "new"}
    for _ in range(5):
        await site.later(5, *"abcd")
        report = await site.apply(fix, revision=NEXT)
    assert report.is_success
    assert site.values == dict.fromkeys("abcd", "fixed")


async def test_an_approval_is_for_the_whole_rollout_and_not_for_nodes_that_join(site):
    class Risky(Polled):
        def plan(self, desired, observed):
            plan = super().plan(desired, observed)
            return replace(plan, steps=tuple(replace(step, risk=Risk.HIGH) for step in plan.steps))

    site.driver = Risky()
    site.rules = {"policies": {"barn": Policy(approve=("high",), max_risky="100%")}}
    with pytest.raises(GuardRefusal):
        await site.apply()
    (request,) = (await site.store.orders()).requests
    await site.store.approve(request.digest, Actor(), "looks right")
    assert states(await site.apply())["a"] == "offered"
    await site.later(5, *"abcd")
    assert states(await site.apply()) == dict.fromkeys("bcd", "offered")
    await site.poll("e")
    await site.later(5, *"abcde")
    with pytest.raises(GuardRefusal):
        await site.apply(site.wanted(names="abcde"), revision=NEXT)
