"""An import writes differences in meaning, and no differences in notation."""

from __future__ import annotations

import copy

import pytest
from support.m2_wire import canonicalise

from reconciler.adopt.meaningful_edits import NodeDifference, apply_edits
from reconciler.documents.edit import REMOVED, Edit
from reconciler.drivers.registry import DRIVERS

ALLOW = ("env", "management", "api", "allowList")
RENDERED = {
    "meta": {"version": "7"},
    "env": {
        "management": {
            "api": {
                "allowList": [
                    {"role": "admin", "addr": "192.168.1.1"},
                    {"role": "admin", "addr": "192.168.3.0/24"},
                    {"role": "user", "addr": "10.0.0.0/255.255.0.0"},
                ]
            },
            "roles": [
                {"name": "user", "permissions": {"enableMetric": True}},
                {"name": "admin", "permissions": {"enableSetting": True}},
            ],
        }
    },
    "hosting": [{"name": "a.example.com", "listen": "*:80"}, {"name": "b.example.com", "listen": "off"}],
}


def written_out(document):
    """The same as a node may show it: in its canonical form defaults and addresses are written out."""
    return copy.deepcopy(canonicalise(document))


def edits(shown, ignored=()):
    differing = NodeDifference(RENDERED, DRIVERS["m2"].fingerprint_meaning, frozenset(ignored))
    return differing.edits(shown)


def test_a_default_that_a_node_shows_is_no_difference():
    shown = written_out(RENDERED)
    assert shown != RENDERED
    assert edits(shown) == ()


@pytest.mark.parametrize(
    "wanted",
    [
        Edit(("hosting", 0, "listen"), "*:81"),
        Edit(("env", "management", "roles", 1, "permissions", "enableGet"), False),
        Edit(("env", "management", "cluster"), {"balance": {"mode": "hash"}}),
        Edit(("env", "network"), {"passiveSockets": 7}),
        Edit((*ALLOW, 1, "addr"), "192.168.3.0/25"),
        Edit(("hosting", 1), REMOVED),
        Edit(("hosting", 0), REMOVED),
        Edit((*ALLOW, 2), REMOVED),
        Edit((*ALLOW, 0), REMOVED),
        Edit((*ALLOW, 3), {"role": "user", "addr": "172.16.0.0/12"}),
        Edit(("custom",), {"x": [1]}),
    ],
)
@pytest.mark.parametrize("full", [False, True])
def test_one_real_drift_is_one_edit(wanted, full):
    after = apply_edits(RENDERED, [wanted])
    shown = written_out(after) if full else copy.deepcopy(after)
    found = edits(shown)
    assert [edit.path for edit in found] == [wanted.path]
    assert canonicalise(apply_edits(RENDERED, found)) == canonicalise(shown)
    if not full:
        assert found == (wanted,)


def test_the_stamped_version_is_no_difference_also_in_a_new_meta():
    shown = apply_edits(RENDERED, [Edit(("meta",), {"version": "8", "setting": {"deploy": "shared"}})])
    assert edits(shown, ignored={("meta", "version")}) == (Edit(("meta", "setting"), {"deploy": "shared"}),)


def test_lists_whose_order_means_nothing_stay_as_written():
    shown = copy.deepcopy(RENDERED)
    shown["env"]["management"]["roles"].reverse()
    shown["env"]["management"]["roles"][0]["permissions"]["enablePurge"] = True
    assert edits(shown) == (Edit(("env", "management", "roles", 1, "permissions", "enablePurge"), True),)
    shown = copy.deepcopy(RENDERED)
    shown["hosting"].reverse()  # the product's pages do not tell whether this means nothing
    assert canonicalise(apply_edits(RENDERED, edits(shown))) == canonicalise(shown)
    assert edits(shown)
