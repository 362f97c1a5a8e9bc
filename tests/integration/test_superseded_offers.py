"""Overdue steps of offers whose content was replaced: they end, and are not unknown for ever."""

import pytest
from support.polled_nodes import LASTS, PolledSite, make_revision

from reconciler.core.outcome import State
from reconciler.store.factory import open_store


@pytest.fixture
async def site(tmp_path):
    sites = []
    with open_store(tmp_path, clock=lambda: sites[0].time) as store:
        sites.append(PolledSite(store, names="a"))
        await store.enrol("barn", "fake", ["a"])
        await sites[0].poll("a")
        yield sites[0]


async def commit(site, value):
    return await site.apply(site.wanted(value), revision=make_revision(value))


async def outcomes(site):
    """The state and the reason of every step of the history, oldest first."""
    runs = [await site.store.run(line.id) for line in reversed(await site.store.runs(100))]
    return [(entry.state, entry.reason) for run in runs for entry in run.entries]


async def make_overdue(site, *, is_taken):
    """An offer that was taken and loads nothing, or was not taken, and is overdue."""
    await commit(site, "first")
    if is_taken:
        await site.later(10)
        assert await site.poll("a", loads=False) is not None
    await site.later(LASTS + 1, *(["a"] if is_taken else []))
    await site.settle()
    (found,) = await outcomes(site)
    assert found[0] is State.UNKNOWN


@pytest.mark.parametrize("is_taken", [True, False])
async def test_an_overdue_step_ends_when_a_newer_commit_is_offered(site, is_taken):
    await make_overdue(site, is_taken=is_taken)
    await site.later(1, "a")
    await commit(site, "second")
    await site.later(10, "a")
    await site.later(10, "a")
    await commit(site, "second")
    assert site.values == {"a": "second"}
    first, second = await outcomes(site)
    assert first[0] is State.SUPERSEDED
    assert first[1].startswith("superseded; before that: overdue: the node ")
    assert second[0] is State.DONE
    assert not await site.store.is_open("barn")
    assert await site.store.list_open_runs() == ()


async def test_an_overdue_step_ends_when_a_newer_commit_wants_what_the_node_has(site):
    await make_overdue(site, is_taken=True)
    await site.later(1, "a")
    await commit(site, "old")
    ((state, _),) = await outcomes(site)
    assert state is State.SUPERSEDED
    assert not await site.store.is_open("barn")


async def test_an_overdue_step_ends_when_its_node_leaves(site):
    site.names = "abcd"
    await make_overdue(site, is_taken=True)
    await site.apply(site.wanted("old", names="bcd"), revision=make_revision("fewer"))
    ((state, _),) = await outcomes(site)
    assert state is State.SUPERSEDED


async def test_an_overdue_step_stays_unknown_while_nothing_has_taken_its_place(site):
    await make_overdue(site, is_taken=True)
    await site.later(100)
    await commit(site, "first")
    ((state, reason),) = await outcomes(site)
    assert (state, reason[:7]) == (State.UNKNOWN, "overdue")
    await site.report("a", "value", {"value": "first"})
    await site.settle()
    assert [state for state, _ in await outcomes(site)] == [State.DONE]


async def test_an_offer_that_is_not_overdue_stays_open_though_a_newer_commit_is_offered(site):
    await commit(site, "first")
    await site.later(10)
    await site.poll("a", loads=False)
    await commit(site, "second")
    await commit(site, "second")
    assert [state for state, _ in await outcomes(site)] == [State.OFFERED, State.OFFERED]
