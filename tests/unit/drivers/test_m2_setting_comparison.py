"""A pair of settings is compared once, and what is said of a node is what would be said of it alone."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from support.m2_wire import cluster_input, setting
from support.m2_wire import desired as desired_of

from reconciler.core.observation import Absent, Observed, Present
from reconciler.core.unmanaged import UnmanagedField
from reconciler.drivers.m2 import setting_comparison
from reconciler.drivers.m2.content import ContentCache
from reconciler.drivers.m2.planner import plan
from reconciler.drivers.m2.product import DRIVER
from reconciler.drivers.m2.schema import LoadedSetting
from reconciler.text.json_pointer import split_pointer

INVALID = 3
"""A value that a node may show and that no file may have."""

FIELDS = {
    "meta__version": ["A", "B", "geheim-1234567890", None, 7, "1.2.3"],
    "meta__token": [None, "p4ssw0rd-of-the-node", "another-secret-text"],
    "env__management__cluster__balance__mode": ["rr", "hash", None],
    "env__management__api__port": [10040, 10041],
    "env__management__api__multipartName": [None, "file", INVALID],
    "env__management__api__allowList": [
        [{"role": "admin", "addr": "127.0.0.0/8"}],
        [{"role": "user", "addr": "127.0.0.0/8"}],
        [],
        None,
    ],
    "env__properties__coreWorkers": [None, 2, 4],
    "hosting": [[], [{"name": "one"}], [{"name": "one", "stats": {"reads": 5}}, {"name": "two"}], None],
}
UNMANAGED = [(), ("/env/properties/coreWorkers",), ("/hosting/*/stats", "/meta/version")]


def draw_setting(numbers, keys, *, is_wanted=False):
    drawn = {key: numbers.choice(FIELDS[key]) for key in keys}
    return setting(**{key: None if is_wanted and value == INVALID else value for key, value in drawn.items()})


def want(document, nodes, patterns):
    cluster = cluster_input(document, nodes=nodes)
    fields = tuple(UnmanagedField(text, f"/clusters/0/unmanaged/{i}") for i, text in enumerate(patterns))
    return desired_of(replace(cluster, unmanaged=dict.fromkeys(nodes, fields)) if fields else cluster)


def describe(cluster_plan):
    steps = [(step.plain(), step.arguments.exact_values(), repr(step.changes)) for step in cluster_plan.steps]
    return steps, cluster_plan.findings, cluster_plan.unchanged


@pytest.mark.parametrize("seed", range(40))
def test_a_fleet_has_the_steps_that_its_nodes_would_have_alone(seed):
    numbers = random.Random(seed)
    keys = sorted(numbers.sample(sorted(FIELDS), numbers.randint(1, len(FIELDS))))
    patterns = numbers.choice(UNMANAGED)
    nodes = tuple(f"edge-{index:02}" for index in range(12))
    desired = want(draw_setting(numbers, keys, is_wanted=True), nodes, patterns)
    shown = [draw_setting(numbers, keys) for _ in range(4)]
    documents = {node: numbers.choice([None, *shown]) for node in nodes}

    def plan_for(contents, names):
        """A plan of some of the nodes, whose settings are read by the same or by different caches."""
        answers = {node: read(cache, documents[node]) for node, cache in zip(names, contents, strict=True)}
        chosen = tuple(target for target in desired.targets if target.node in names)
        observed = Observed(answers)
        return describe(plan(DRIVER.keep_unmanaged(replace(desired, targets=chosen), observed), observed))

    def read(cache, document):
        if document is None:
            return Absent("http://n:10040")
        content = cache.of(document)
        return Present(LoadedSetting(content, "http://n:10040", (), own=content))

    def make_cache():
        return ContentCache(unmanaged=tuple(sorted(split_pointer(text) for text in patterns)))

    shared = make_cache()
    found = plan_for([shared for _ in nodes], nodes)
    alone = [plan_for([make_cache()], [node]) for node in nodes]
    steps, findings, unchanged = (list(parts) for parts in zip(*alone, strict=True))
    assert found[0] == [step for own in steps for step in own]
    assert set(found[1]) == {finding for own in findings for finding in own}
    assert found[2] == sum(unchanged)


def test_a_pair_is_compared_once_and_so_is_what_differs_in_the_version_alone(monkeypatch):
    calls = []
    inner = setting_comparison.assess_impact
    monkeypatch.setattr(setting_comparison, "assess_impact", lambda *pair: calls.append(pair) or inner(*pair))
    nodes = tuple(f"edge-{index:02}" for index in range(30))
    desired = desired_of(cluster_input(setting(meta__version="B"), nodes=nodes))
    contents = ContentCache()
    documents = [setting(meta__version=f"A{index % 3}") for index in range(30)]
    answers = {
        node: Present(LoadedSetting(contents.of(document)))
        for node, document in zip(nodes, documents, strict=True)
    }
    steps = plan(desired, Observed(answers)).steps
    assert len(calls) == 1
    assert len(steps) == len(nodes)
    assert len({id(step.changes[0]) for step in steps}) == len({step.reason for step in steps}) == 3
