"""Unmanaged fields in the fleet file: what is refused, what a file sets as well, what matches nothing."""

from __future__ import annotations

import json

import pytest
from support.memory_files import fleet_of, problems_of, snapshot_of

from reconciler.desired.validation import validate_files
from reconciler.diagnostic import Severity
from reconciler.drivers.registry import DRIVERS

FLEET = """\
clusters:
  - name: edge
    kind: m2
    setting: s.json
    unmanaged: [PATTERN]
    overlays: [o.yaml]
    nodes:
      - {name: n-1, address: 10.0.0.1}
      - {name: n-2, address: 10.0.0.2, overlays: [{unmanaged: [/up/x]}, {merge: {a: 1}, unmanaged: [/b]}]}
"""
SETTING = {
    "env": {"management": {"roles": []}},
    "hosting": [{"name": "a.example.com", "origin": {"address": ["198.51.100.1"]}, "enable": True}],
}
FILES = {"s.json": json.dumps(SETTING), "o.yaml": "notes: {left: 1, text: x}\n"}


def problems(pattern, **more):
    fleet = FLEET.replace("PATTERN", pattern)
    return problems_of({"fleet.yaml": fleet, **FILES, **more})


def errors(pattern, **more):
    return [one for one in problems(pattern, **more) if one.severity is Severity.ERROR]


@pytest.mark.parametrize(
    "pattern",
    [
        '""', "/meta", "/meta/version", "/env", "/env/*", "/env/management", "/env/management/*",
        "/env/management/roles", "/env/management/roles/*/permissions/enableGet", "/*/management",
        "/env/management/api/allowList", "/env/management/api/port", "/env/management/api/lastSeen",
        "/env/management/cluster/discover/members", "/env/management/server/features/setting",
        "/hosting", "/hosting/*", "/hosting/*/name", "/hosting/a.example.com", "/*", "/*/*", "/*/*/*",
    ],
)  # fmt: skip
def test_what_is_vital_stays_ours(pattern):
    (problem,) = errors(pattern)
    assert (problem.code, str(problem.position)) == ("unmanaged-refused", "fleet.yaml:5:17")


@pytest.mark.parametrize("pattern", ["hosting/*/stats", "/a~2", "/a/**", "/" + "x" * 600, "/a" * 40])
def test_a_pattern_has_a_form(pattern):
    (problem,) = errors(pattern)
    assert (problem.pointer, problem.position.file) == ("/clusters/0/unmanaged/0", "fleet.yaml")


@pytest.mark.parametrize(
    ("pattern", "where", "code"),
    [
        ("/hosting/*/enable", "s.json:1:129", "unmanaged-set"),
        ("/hosting/a.example.com/enable", "s.json:1:129", "unmanaged-set"),
        ("/notes/left", "o.yaml:1:15", "unmanaged-set"),
        ("/notes/*", "o.yaml:1:15", "unmanaged-set"),
        ("/notes/text/size", "o.yaml:1:24", "unmanaged-set"),
        ("/hosting/0/stats", "fleet.yaml:5:17", "unmanaged-refused"),
        ("/hosting/*/origin/address/*", "fleet.yaml:5:17", "unmanaged-refused"),
    ],
)
def test_a_field_that_a_file_sets_is_an_error_where_it_is_set(pattern, where, code):
    found = errors(pattern)
    assert (str(found[0].position), found[0].code) == (where, code)


@pytest.mark.parametrize("pattern", ["/hosting/*/stats", "/hosting/a.example.com/stats/x", "/env/up", "/up"])
def test_other_fields_may_be_unmanaged(pattern):
    assert errors(pattern) == []


def test_fields_of_a_cluster_and_of_overlays_are_joined():
    fleet = fleet_of({"fleet.yaml": FLEET.replace("PATTERN", "/hosting/*/stats"), **FILES})
    named = {
        node: [field.text for field in fields] for node, fields in fleet.cluster_inputs[0].unmanaged.items()
    }
    assert named == {"n-1": ["/hosting/*/stats"], "n-2": ["/hosting/*/stats", "/up/x", "/b"]}
    assert fleet.cluster_inputs[0].documents["n-2"].value["a"] == 1


@pytest.mark.parametrize(
    ("pattern", "remedy"),
    [
        ("/hostings/*/stats", "did you mean /hosting/*/stats?"),
        ("/hosting/*/orign/stats", "did you mean /hosting/*/origin/stats?"),
    ],
)
def test_a_pattern_that_can_match_nothing_gets_a_lint(pattern, remedy):
    (problem,) = [one for one in problems(pattern) if one.code == "unmanaged-unmatched"]
    assert (problem.severity, str(problem.position)) == (Severity.WARNING, "fleet.yaml:5:17")
    assert problem.remedy.startswith(remedy)
    fleet = "lint: {ignore: [{code: unmanaged-unmatched, reason: comes later}]}\n"
    fleet += FLEET.replace("PATTERN", pattern)
    assert not [one for one in problems_of({"fleet.yaml": fleet, **FILES}) if one.code == problem.code]


@pytest.mark.parametrize("pattern", ["/hosting/*/stats/x", "/env/more/x", "/hosting/*/x/*/y", "/plugins/x"])
def test_a_pattern_that_nodes_may_have_gets_none(pattern):
    assert not [one for one in problems(pattern) if one.code == "unmanaged-unmatched"]


@pytest.mark.parametrize("deliver", ["deliver: local", "deliver: checkout"])
def test_a_node_that_takes_a_whole_file_has_no_field_of_its_own(deliver):

    fleet = FLEET.replace("PATTERN", "/hosting/*/stats").replace("kind: m2", f"kind: m2\n    {deliver}")
    found = validate_files(snapshot_of({"fleet.yaml": fleet, **FILES}), DRIVERS).problems
    assert {one.pointer for one in found if one.code == "unmanaged-refused"} >= {"/clusters/0/unmanaged/0"}


@pytest.mark.parametrize(
    ("kind", "nodes"),
    [
        ("sora", "[{name: n1@a.example.com, api: 'http://127.0.0.1:3000/'}]"),
        ("gocluster", "[{name: n1, addr: '10.0.0.1:9654'}], config: {template: t.tmpl, file: app}"),
        ("collab", "[{name: c1, host: 10.0.0.1}]"),
    ],
)
def test_other_products_say_what_to_do_instead(kind, nodes):
    fleet = f"clusters: [{{name: c, kind: {kind}, unmanaged: [/a/b], nodes: {nodes}}}]\n"
    found = [one for one in problems_of({"fleet.yaml": fleet}) if one.code == "unmanaged-refused"]
    assert len(found) == 1
    assert "`unmanaged` is not for" in found[0].message


def test_an_overlay_has_something():
    fleet = FLEET.replace("PATTERN", "/x").replace("{unmanaged: [/up/x]}", "{unmanaged: []}")
    found = problems_of({"fleet.yaml": fleet, **FILES})
    assert any("or has `unmanaged`" in one.message for one in found)
