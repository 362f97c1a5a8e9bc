"""Suspend, resume, approve and explain by the entry point; the store shows what they wrote."""

import asyncio
import json

import pytest

from reconciler.cli.explanations import read_page
from reconciler.cli.main import main
from reconciler.host.actor import get_current_actor
from reconciler.ports.store import AppliedMembers, ClusterFacts
from reconciler.store.factory import open_store

NO_WATCH = "Watch: none is running on this host with this state\n"
ONE, TWO = "a1" * 32, "a1" * 16 + "b2" * 16

SAYS = f"{get_current_actor().description}, "
"""Who runs these tests, as the store writes it before the claim."""


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


def read_orders(state):
    with open_store(state) as store:
        return asyncio.run(store.orders())


def waits(state, cluster, digest):
    with open_store(state) as store:
        asyncio.run(store.request_approval(cluster, digest, "4be6bbe", "1 step"))


def run(state, *arguments):
    return main([arguments[0], "--state", str(state), *arguments[1:]])


def test_a_suspension_lasts_until_resume(state, capsys):
    assert run(state, "suspend", "live", "--reason", "it looks odd", "--by", "kim") == 0
    assert run(state, "suspend", "--reason", "a storm", "--by", "lee") == 0
    found = read_orders(state).suspensions
    assert [(one.cluster, one.reason, one.by) for one in found] == [
        ("", "a storm", SAYS + "on behalf of lee (not checked)"),
        ("live", "it looks odd", SAYS + "on behalf of kim (not checked)"),
    ]
    capsys.readouterr()
    assert run(state, "resume") == 0
    assert capsys.readouterr().out == (
        "Changes to the whole fleet are allowed again.\nStill suspended: cluster live: it looks odd\n"
        f"State: {state} (--state)\n{NO_WATCH}"
    )
    assert run(state, "resume", "live") == 0
    assert read_orders(state).suspensions == ()
    capsys.readouterr()
    assert run(state, "resume", "live") == 0
    assert capsys.readouterr().out.startswith("There was no suspension of cluster live.\n")


def test_a_suspension_needs_a_reason_and_warns_of_an_unknown_cluster(state, capsys):
    assert run(state, "suspend", "live") == 1
    assert "needs a reason" in capsys.readouterr().err
    with open_store(state) as store:
        asyncio.run(store.record_pass("live", ClusterFacts(members=AppliedMembers(1, ("a",), "/repo"))))
    assert run(state, "suspend", "lvie", "--reason", "it looks odd") == 0
    assert "did you mean live?" in capsys.readouterr().out
    run(state, "suspend", "live", "--reason", "it looks odd")
    assert "No run on this host" not in capsys.readouterr().out


def test_resume_without_a_state_creates_none(state, capsys):
    assert run(state, "resume") == 0
    assert capsys.readouterr().out == (
        f"There was no suspension of the whole fleet.\nState: {state} (--state)\n{NO_WATCH}"
    )
    assert not state.exists()


def test_a_plan_that_waits_is_approved_by_the_beginning_of_its_id(state, capsys):
    waits(state, "live", ONE)
    assert run(state, "approve", "--list") == 0
    assert "a1a1a1a1a1a1  waits since" in capsys.readouterr().out
    assert run(state, "approve", "a1a1a1a1", "--by", "kim", "--reason", "looked at it") == 0
    assert "live, revision 4be6bbe: 1 step" in capsys.readouterr().out
    (approved,) = read_orders(state).approvals
    by = SAYS + "on behalf of kim (not checked)"
    assert (approved.digest, approved.by, approved.reason) == (ONE, by, "looked at it")
    assert run(state, "approve", "--list", "--format", "json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert (listed["waiting"][0]["id"], listed["approved"][0]["by"]) == (ONE, by)
    run(state, "approve", "--list")
    shown = capsys.readouterr().out
    assert "waits since" not in shown
    assert "on behalf of kim (not checked): looked at it" in shown


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("a1a1a1a", "is not a plan id"),
        ("latest!!", "is not a plan id"),
        ("a1a1a1a1", "2 plan ids begin with"),
        ("ffffffff", "waits for approval on this host"),
    ],
)
def test_an_ambiguous_or_unknown_id_is_refused(state, capsys, word, words):
    waits(state, "live", ONE)
    waits(state, "edge", TWO)
    assert run(state, "approve", word) == 1
    assert words in capsys.readouterr().err
    assert read_orders(state).approvals == ()


def test_a_complete_id_is_approved_before_any_run_asks(state):
    assert run(state, "approve", ONE.upper()) == 0
    assert read_orders(state).approvals[0].digest == ONE


def test_approve_takes_an_id_or_list(state, capsys):
    assert run(state, "approve") == 1
    assert run(state, "approve", ONE, "--list") == 1
    assert capsys.readouterr().err.count("give either a plan id or --list") == 2
    assert run(state, "approve", "--list") == 0
    assert capsys.readouterr().out == f"No plan waits for approval.\nState: {state} (--state)\n{NO_WATCH}"


def test_explain_shows_a_page_lists_all_and_suggests(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["explain", "[frozen]"]) == 0
    assert capsys.readouterr().out == read_page("frozen")
    assert main(["explain"]) == 0
    assert "outside-window  " in capsys.readouterr().out
    assert main(["explain", "frozzen"]) == 1
    assert "did you mean frozen?" in capsys.readouterr().err


def test_an_ended_order_stays_in_the_history_with_who_and_why(state, capsys):
    assert run(state, "suspend", "--reason", "a storm", "--by", "kim") == 0
    assert run(state, "resume", "--reason", "it is over") == 0
    waits(state, "live", ONE)
    assert run(state, "approve", "a1a1a1a1", "--reason", "looked at it") == 0
    capsys.readouterr()
    assert run(state, "history", "orders", "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [(one["kind"], one["plan"], one["actor"]["why"]) for one in found] == [
        ("approve", ONE, "looked at it"),
        ("resume", "", "it is over"),
        ("suspend", "", "a storm"),
    ]
    assert {one["actor"]["user"] for one in found} == {get_current_actor().user}
    assert found[2]["actor"]["claim"] == "kim"
    assert run(state, "history") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"suspend all clusters by {SAYS}on behalf of kim (not checked): a storm" in shown


def test_a_variable_does_not_change_the_recorded_user(monkeypatch):
    before = get_current_actor()
    for name in ("USER", "LOGNAME", "USERNAME", "HOSTNAME"):
        monkeypatch.setenv(name, "somebody")
    assert get_current_actor() == before


@pytest.mark.parametrize("given", ["examples/demo", "https://git.example/fleet.git"])
def test_a_source_is_not_taken_for_the_name_of_a_cluster(state, given, capsys):
    assert run(state, "suspend", given, "--reason", "it looks odd") == 1
    assert "is a path or a URL" in capsys.readouterr().err
    assert not state.exists()
