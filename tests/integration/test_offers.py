"""Nodes that ask by themselves: a step is offered, outlives its pass, and a report settles it."""

import pytest
from support.driver import Killed
from support.polled_nodes import FRESH, LASTS, Polled, PolledSite

from reconciler.core.observation import Present, Stale, classify_by_age
from reconciler.core.outcome import State
from reconciler.errors import MissingTransport
from reconciler.planning.plan_pass import run_plan_pass
from reconciler.ports.transport import Transports
from reconciler.store.factory import open_store


@pytest.fixture
async def site(tmp_path):
    sites = []
    with open_store(tmp_path, clock=lambda: sites[0].time) as store:
        sites.append(PolledSite(store, names="a"))
        await store.enrol("barn", "fake", ["a"])
        await sites[0].poll("a")
        yield sites[0]


async def test_a_step_that_is_offered_outlives_its_pass_and_is_settled_by_a_report(site):
    report = await site.apply()
    (outcome,) = report.outcomes
    assert (outcome.state, outcome.sent) == (State.OFFERED, True)
    assert outcome.reason.startswith("offer ")
    assert outcome.reason.endswith("; the node has not taken it yet")
    assert outcome.seconds < 5, "it was waited for under the cluster's lock"
    assert (report.is_success, report.exit_status) == (False, 5)
    assert await site.store.is_open("barn")

    await site.later(50)
    assert await site.settle() == ()
    seen = await site.look()
    assert seen.plan.is_empty
    assert [finding.code for finding in seen.plan.findings()] == ["offer-open"]

    await site.later(10, "a")
    (settled,) = await site.settle()
    assert (settled.state, settled.reason) == (
        State.DONE,
        "settled by reading: the effect is visible: a holds new",
    )
    assert (await site.look()).plan.is_empty
    assert not await site.store.is_open("barn")


async def test_an_overdue_offer_is_unknown_and_made_again_once_the_node_is_heard(site):
    await site.apply()
    await site.later(LASTS + 1)
    (settled,) = await site.settle()
    assert (settled.state, settled.sent) == (State.UNKNOWN, False)
    assert settled.reason.startswith("overdue: the node has not polled since the offer was made")
    assert (await site.look()).plan.is_empty
    assert await site.later(1, "a") == [None], "an offer that closed is not delivered any more"
    assert [one.state for one in (await site.apply()).outcomes] == [State.OFFERED]
    await site.later(10, "a")
    assert [one.state for one in await site.settle()] == [State.DONE]
    assert site.values == {"a": "new"}


async def test_an_offer_that_was_taken_and_shows_no_effect_is_overdue_and_counts_as_an_attempt(site):
    for _ in range(3):
        assert [one.state for one in (await site.apply()).outcomes] == [State.OFFERED]
        await site.later(10)
        assert await site.poll("a", loads=False) is not None
        await site.later(LASTS, "a")
        (settled,) = await site.settle()
        assert settled.reason == ("overdue: the node took its offer, and does not show it: a still holds old")
    seen = await site.look()
    assert [finding.code for finding in seen.plan.findings()] == ["node-stalled"]


async def test_an_offer_that_nobody_could_take_because_changes_were_held_counts_for_nothing(site):
    await site.apply()
    site.is_held = True
    for _ in range(6):
        await site.later(LASTS / 5, "a")
    (settled,) = await site.settle()
    assert (settled.state, settled.reason) == (
        State.SKIPPED,
        "the offer closed before the node could take it",
    )
    facts = (await site.store.read_memory()).facts.get("barn", {}).get("a", {})
    assert not any(value for key, value in facts.items() if key.startswith("attempt/"))
    assert site.values == {"a": "old"}
    site.is_held = False
    await site.apply()
    await site.later(1, "a")
    assert site.values == {"a": "new"}


async def test_a_node_that_reports_its_failure_is_not_waited_for_and_the_content_is_not_sent_again(site):
    await site.apply()
    site.nodes["a"].fails = "it has no room"
    await site.later(10, "a")
    (settled,) = await site.settle()
    assert (settled.state, settled.refused) == (State.FAILED, True)
    assert settled.reason == "the node reported that it failed: it has no room"
    seen = await site.look()
    assert [finding.code for finding in seen.plan.findings()] == ["node-stalled"]
    assert seen.plan.is_empty


async def test_nothing_is_sent_where_the_last_report_is_old_and_the_offer_stays_open(site):
    await site.apply()
    await site.later(FRESH + 40)
    assert await site.settle() == ()
    assert await site.store.is_open("barn")
    answer = (await site.look()).guard_contexts[0].observed.nodes["a"]
    assert answer == Stale("old", "its last report is 100 s old, and 60 s count as fresh")
    assert answer.age == FRESH + 40


async def test_nothing_is_planned_on_an_old_report(site):
    await site.later(FRESH + 1)
    assert (await site.look()).plan.is_empty
    assert await site.offered() == {}


class Dying(Polled):
    """Its process is killed on one side of the offer."""

    before = False

    async def act(self, step, transports, payloads):
        if not self.before:
            await super().act(step, transports, payloads)
        raise Killed


async def test_a_run_that_is_killed_after_its_offer_does_not_offer_again(site):
    site.driver = Dying()
    with pytest.raises(Killed):
        await site.apply()
    site.driver = Polled()
    await site.later(40)
    assert [one.state for one in await site.settle()] == [State.OFFERED]
    assert (await site.look()).plan.is_empty
    await site.later(10, "a")
    assert [one.state for one in await site.settle()] == [State.DONE]


async def test_a_run_that_is_killed_before_its_offer_offers_at_once(site):
    site.driver = Dying()
    site.driver.before = True
    with pytest.raises(Killed):
        await site.apply()
    site.driver = Polled()
    await site.later(1)
    (settled,) = await site.settle()
    assert (settled.state, settled.sent) == (State.FAILED, False)
    assert settled.reason == "the run was killed before the offer was recorded"
    assert [one.state for one in (await site.apply()).outcomes] == [State.OFFERED]


def test_the_age_of_a_reading_is_no_part_of_what_it_says():
    assert classify_by_age("x", 10, 60) == Present("x") == Present("x", 3)
    assert (classify_by_age("x", 60, 60).age, classify_by_age("x", 61, 60).age) == (60, 61)
    assert isinstance(classify_by_age("x", 61, 60), Stale)
    assert isinstance(classify_by_age("x", -5, 60, ahead=5), Present), "calls may cross"
    assert isinstance(classify_by_age("x", -6, 60, ahead=5), Stale), "the clock was set back"


async def test_without_a_mailbox_nothing_is_asked(site):
    wanted = (await site.look()).fleet
    with pytest.raises(MissingTransport, match="barn: this program has no transport 'mailbox'"):
        await run_plan_pass(wanted, drivers=site.drivers, transports=Transports())
