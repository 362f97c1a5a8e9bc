"""Gates of polled waves: what nodes reported to the node server decides, and silence proves nothing."""

import pytest
from support.driver import REVISION
from support.node_servers import TinyServer
from support.polled_nodes import PolledSite

from reconciler.core.rollout_rules import Gates, ReportGate, Rollout
from reconciler.core.secret import MASK
from reconciler.store.factory import open_store


@pytest.fixture
async def site(tmp_path):
    sites = []
    with open_store(tmp_path, clock=lambda: sites[0].time) as store:
        gates = Gates(reports=ReportGate(feedback=True, within=0))
        sites.append(PolledSite(store, rollout=Rollout(waves=2, soak=30, gates=gates, on_failure="return")))
        await store.enrol("barn", "fake", list("abcd"))
        for name in "abcd":
            await sites[0].poll(name)
        yield sites[0]


def codes(report):
    return [finding.code for finding in report.findings]


async def test_a_wave_passes_when_its_nodes_have_reported_what_they_were_given(site):
    await site.apply()
    await site.later(5, *"ab")
    for name in "ab":
        await site.confirm(name)

    async def soak():
        await site.later(30, *"abcd")
        await site.beat(*"ab")

    site.soak.meanwhile = soak
    report = await site.apply()
    assert site.soak.waited == [30]
    assert {outcome.step.node: outcome.state.value for outcome in report.outcomes} == {
        "c": "offered",
        "d": "offered",
    }


async def test_heartbeats_from_before_the_effect_was_visible_do_not_count(site):
    await site.apply()
    await site.later(5, *"ab")
    for name in "ab":
        await site.confirm(name)
    await site.beat(*"ab")
    await site.later(5)
    report = await site.apply()
    assert codes(report)[0] == "gate-failed"
    assert "a has sent no heartbeat since it was changed" in report.findings[0].message


async def test_a_failure_that_a_node_reports_fails_the_wave_and_takes_it_back(site):
    await site.apply()
    await site.later(5, *"ab")
    await site.confirm("a")
    await site.confirm("b", "E0004 no such file")
    report = await site.apply()
    assert codes(report) == ["gate-failed", "offered-back"]
    assert "b reports a failure of its new setting: E0004 no such file" in report.findings[0].message
    await site.later(5, *"abcd")
    assert site.values == dict.fromkeys("abcd", "old")


async def test_a_failure_that_quotes_what_the_node_was_offered_is_shown_without_it(site, monkeypatch):
    class Server(TinyServer):
        def list_secrets(self, mail):
            return frozenset(part.decode() for one in mail.offers for part in (*one.parts, *one.former))

    monkeypatch.setattr(site.driver, "central_server", Server)
    await site.apply(site.wanted("swordfish"))
    await site.later(5, *"ab")
    await site.confirm("a")
    await site.confirm("b", "no login with swordfish")
    report = await site.apply(site.wanted("swordfish"))
    message = report.findings[0].message
    assert f"b reports a failure of its new setting: no login with {MASK}" in message
    assert "swordfish" not in repr(await site.store.orders())


async def test_a_feedback_from_before_the_wave_does_not_count(site):
    for name in "abcd":
        await site.confirm(name, "E0001 an earlier failure")
    await site.later(1)
    await site.apply()
    await site.later(5, *"ab")
    report = await site.apply()
    assert "a has sent no feedback since it was changed" in report.findings[0].message


async def test_nodes_that_fall_silent_in_the_soak_reject_nothing(site):
    async def soak():
        await site.later(100, *"cd")

    await site.apply()
    await site.later(5, *"ab")
    site.soak.meanwhile = soak
    report = await site.apply()
    assert codes(report) == ["wave-waits"]
    assert "2 of its nodes are not heard any more (a, b)" in report.findings[0].message
    assert report.exit_status == 5
    assert await site.rejected() == []
    assert (await site.apply()).run == "", "the next pass waits without a run"
    site.soak.meanwhile = lambda: None
    await site.later(1, *"ab")
    for name in "ab":
        await site.confirm(name)
    await site.beat(*"ab")
    report = await site.apply()
    assert "gate-failed" not in codes(report)
    assert (await site.progress()).passed == ("a", "b")


async def test_a_node_that_reverts_in_the_soak_fails_the_wave(site):
    async def soak():
        site.nodes["a"].value = "odd"
        await site.later(10, *"ab")

    await site.apply()
    await site.later(5, *"ab")
    site.soak.meanwhile = soak
    report = await site.apply()
    assert "gate-failed" in codes(report)
    assert await site.rejected() == [REVISION.short]
