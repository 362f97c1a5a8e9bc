"""What M2's lints do not complain of holds: access that depends on no reading, groups that are reached."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.plan import Revision
from reconciler.diagnostic import Position
from reconciler.drivers.m2 import lints
from reconciler.drivers.m2.caller_permissions import find_access
from reconciler.drivers.m2.choices import AllowListMatch, Choices
from reconciler.drivers.m2.schema import M2Cluster
from reconciler.ports.cluster_input import ClusterInput

ENTRY = M2Cluster.model_validate({"name": "e", "kind": "m2", "nodes": [{"name": "n", "address": "10.0.0.1"}]})
PERMISSIONS = ("enableMetric", "enableGraph", "enablePurge")
ROLES = [
    {"name": f"r{number}", "permissions": dict.fromkeys(granted, True)}
    for number, granted in enumerate([(), PERMISSIONS[:1], PERMISSIONS[:2], PERMISSIONS[1:]])
]
LAST = st.integers(0, 15)
RANGES = st.tuples(LAST, LAST).map(lambda ends: f"192.168.0.{min(ends)}-{max(ends)}")
ADDRESSES = RANGES | LAST.map("192.168.0.{}".format) | st.sampled_from(["192.168.0.0/28", "192.168.0.8/29"])
ALLOWED = st.lists(
    st.fixed_dictionaries(
        {"addr": ADDRESSES}, optional={"role": st.sampled_from([r["name"] for r in ROLES])}
    ),
    max_size=5,
)
FUNCTIONS = ("a", "b", "c", "all")
GROUPS = st.lists(
    st.fixed_dictionaries(
        {"nodes": st.just(["10.0.0.1"])},
        optional={"functions": st.none() | st.lists(st.sampled_from(FUNCTIONS), max_size=3)},
    ),
    max_size=6,
)


class Paper:
    """A document that knows its value, and of places only their pointers."""

    name = "setting.json"

    def __init__(self, management):
        self.value = {"env": {"management": management}}

    def position(self, pointer, *, key=False):
        return Position(f"{self.name}#{pointer}", 1, 1)


def lint(management, *codes):
    """Pointers of the warnings with one of these codes."""
    paper = Paper(management)
    cluster_input = ClusterInput(ENTRY, paper, "", Revision("m", "0", "0"), {"n": paper})
    return {problem.pointer for problem in lints.lint(cluster_input) if problem.code in codes}


@given(ALLOWED)
def test_without_overlaps_all_readings_of_an_allow_list_agree(entries):
    management = {"api": {"allowList": entries, "defaultRole": "r1"}, "roles": ROLES}
    document = {"env": {"management": management}}
    reported = lint(management, "shadowed-entry", "overlapping-entries")
    for last in range(16):
        first, union = (
            find_access(document, f"192.168.0.{last}", Choices(match=match)).permissions
            for match in AllowListMatch
        )
        assert first == union or reported


@given(ALLOWED)
def test_a_reported_entry_shares_an_address_with_an_earlier_one(entries):
    management = {"api": {"allowList": entries, "defaultRole": "r1"}, "roles": ROLES}

    def named(entry):
        alone = {"env": {"management": {"api": {"allowList": [entry]}, "roles": ROLES}}}
        return {last for last in range(16) if find_access(alone, f"192.168.0.{last}").listed}

    for pointer in lint(management, "shadowed-entry", "overlapping-entries"):
        index = int(pointer.split("/")[-2])
        earlier = set().union(*(named(entry) for entry in entries[:index]))
        assert named(entries[index]) & earlier


def taker(groups, function):
    """The group that a request with a function, or with none (""), goes to; none where it stays."""
    for index, group in enumerate(groups):
        functions = group.get("functions") or []
        if (function in functions or "all" in functions) if function else not functions:
            return index
    return None


@given(GROUPS)
def test_the_reported_groups_are_those_that_no_request_reaches(groups):
    found = lint({"cluster": {"discover": {"members": groups}}}, "hidden-group")
    hidden = {int(pointer.split("/members/")[1].split("/")[0]) for pointer in found}
    reached = {taker(groups, function) for function in ("", "a", "b", "c", "another")}
    assert hidden == set(range(len(groups))) - reached


@given(GROUPS)
def test_requests_that_no_group_serves_are_reported(groups):
    found = lint({"cluster": {"discover": {"members": groups}}}, "unserved-request")
    stays = {function for function in ("", "another") if taker(groups, function) is None}
    assert bool(found) == bool(groups and stays)
