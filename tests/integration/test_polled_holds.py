"""Open offers while changes are on hold: hidden, unless the hold was set aside for them."""

from contextlib import suppress
from datetime import timedelta

import pytest
from support.driver import NOON
from support.polled_nodes import PolledSite, make_revision

from reconciler.core.actor import Actor
from reconciler.core.change_windows import Freeze, Window
from reconciler.core.policy import ChangeRules, Override
from reconciler.errors import GuardRefusal
from reconciler.store.factory import open_store

NEXT = make_revision("1111111")


@pytest.fixture
async def site(tmp_path):
    sites = []
    with open_store(tmp_path, clock=lambda: sites[0].time) as store:
        sites.append(PolledSite(store, names="ab"))
        await store.enrol("barn", "fake", list("ab"))
        for name in "ab":
            await sites[0].poll(name)
        yield sites[0]


def override(guard):
    return Override(guard=guard, until=NOON.date() + timedelta(days=2), reason="an emergency at night")


def window(hours=1):
    """Open since noon, each day."""
    return Window(cron="0 12 * * *", duration=f"{hours}h", timezone="UTC")


def freeze(begin, end):
    form = "%Y-%m-%dT%H:%M:%SZ"
    return Freeze(**{"from": begin.strftime(form), "until": end.strftime(form), "reason": "a big match"})


async def done(value):
    return value


async def apply(site, *clusters, **more):
    with suppress(GuardRefusal):
        return await site.apply(*clusters, **more)


async def test_an_offer_that_is_open_when_its_window_closes_is_hidden_and_comes_again_in_the_next_one(site):
    site.rules = {"change_rules": ChangeRules(windows=(window(),))}
    site.time = NOON + timedelta(minutes=59)
    await site.later(0, "a", "b")
    await apply(site)
    await site.later(59)
    assert (await site.poll("a")).label == "new"
    await site.later(1)
    assert await site.poll("b") is None
    # What was taken stays served, also to a node that has lost the date of it.
    site.nodes["a"].asked = None
    assert (await site.poll("a")).label == "new"
    for _ in range(4):
        await site.later(3_600, "a", "b")
        await apply(site)
    assert site.values == {"a": "new", "b": "old"}
    site.time = NOON + timedelta(days=1, minutes=1)
    await site.later(0, "a", "b")
    await apply(site)
    await site.later(1, "a", "b")
    assert site.values == {"a": "new", "b": "new"}


async def test_an_offer_that_is_open_when_a_freeze_begins_is_hidden_and_comes_again_after_it(site):
    begin, end = NOON + timedelta(seconds=30), NOON + timedelta(hours=2)
    site.rules = {"change_rules": ChangeRules(freezes=(freeze(begin, end),))}
    await apply(site)
    await site.later(29)
    assert (await site.poll("a")).label == "new"
    await site.later(1)
    assert await site.poll("b") is None
    await site.later(3_600, "a", "b")
    await apply(site)
    assert site.values == {"a": "new", "b": "old"}
    await site.later(3_600, "a", "b")
    await apply(site)
    await site.later(1, "a", "b")
    assert site.values == {"a": "new", "b": "new"}


async def test_a_freeze_that_a_later_commit_begins_hides_an_open_offer_at_once(site):
    await apply(site)
    site.rules = {"change_rules": ChangeRules(freezes=(freeze(NOON, NOON + timedelta(seconds=60)),))}
    assert await site.later(30, "a", "b") == [None, None]
    await site.later(31)
    assert (await site.poll("a")).label == "new"


async def test_an_override_of_a_freeze_serves_what_was_offered_under_it(site):
    rules = ChangeRules(freezes=(freeze(NOON, NOON + timedelta(hours=2)),))
    site.rules = {"change_rules": rules, "overrides": (override("frozen"),)}
    await apply(site)
    assert [offer and offer.label for offer in await site.later(5, "a", "b")] == ["new", "new"]


async def test_a_rollback_while_suspended_is_served_and_nothing_else(site):
    await apply(site)
    await site.later(5, "a")
    await site.store.suspend("barn", "night", Actor())
    assert await site.poll("b") is None
    site.rules = {"overrides": (override("suspended"),)}
    await apply(site, site.wanted("old"), revision=NEXT)
    site.rules = {}
    assert [offer and offer.label for offer in await site.later(5, "a", "b")] == ["old", None]
    assert site.values == {"a": "old", "b": "old"}


async def test_a_suspension_after_a_rollback_while_suspended_stops_it_too(site):
    await apply(site)
    await site.later(5, "a", "b")
    await site.store.suspend("", "night", Actor())
    site.rules = {"overrides": (override("suspended"),)}
    await apply(site, site.wanted("old"), revision=NEXT)
    site.rules = {}
    assert (await site.later(5, "a"))[0].label == "old"
    await site.store.suspend("barn", "stop this as well", Actor())
    assert await site.later(5, "b") == [None]
    await site.store.resume("", Actor())
    await site.store.resume("barn", Actor())
    assert (await site.later(5, "b"))[0].label == "old"


async def test_a_freeze_hides_what_only_a_suspension_was_set_aside_for(site):
    await site.store.suspend("barn", "night", Actor())
    site.rules = {"overrides": (override("suspended"),)}
    await apply(site)
    site.rules = {"change_rules": ChangeRules(freezes=(freeze(NOON, NOON + timedelta(hours=2)),))}
    assert await site.later(5, "a") == [None]


async def test_an_open_offer_is_hidden_from_a_held_node_and_comes_again_after_it(site):
    await apply(site)
    await site.store.hold(0, "barn", "a", site.time + timedelta(hours=2), Actor("kim", why="the card"))
    await site.later(1, "a", "b")
    assert await site.poll("a") is None
    assert site.values == {"a": "old", "b": "new"}
    for _ in range(3):
        await site.later(1_800, "a", "b")
        await apply(site)
    assert site.values == {"a": "old", "b": "new"}
    await site.later(1_800, "a", "b")
    await apply(site)
    await site.later(1, "a", "b")
    assert site.values == {"a": "new", "b": "new"}


async def test_the_store_refuses_an_offer_to_a_node_that_was_held_a_moment_ago(site):
    await apply(site)
    changes = await site.store.read_changes(0)
    await site.store.hold(0, "barn", "a", site.time + timedelta(hours=2), Actor("kim", why="the card"))
    assert (0, "barn", "a") in (await site.store.read_changes(changes.position)).held
    site.store.read_changes = lambda since: done(changes)
    assert await site.poll("a") is None
