"""A gate that could never pass is refused before the first node is changed."""

from dataclasses import replace

import pytest
from support.guard_cases import edge

from reconciler.core.rollout_rules import Rollout
from reconciler.guards.rollout_gates import refuse_gate_without_reports


@pytest.mark.parametrize(
    ("gates", "reporting", "refused"),
    [
        ({"reports": {}}, set(), True),
        ({"reports": {}}, {"n1", "n2"}, True),
        ({"reports": {}}, {"n1", "n2", "n3"}, False),
        ({}, set(), False),
    ],
)
def test_a_gate_of_reports_needs_nodes_that_report(gates, reporting, refused):
    context = edge()
    rollout = Rollout.model_validate({"waves": [1], "gates": gates})
    rules = replace(context.change_rules, rollout=rollout)
    context = replace(context, change_rules=rules, reporting=frozenset(reporting))
    found = [one.code for one in refuse_gate_without_reports(context)]
    assert found == ["gate-without-reports"] * refused


def test_a_cluster_without_waves_has_no_gates():
    assert list(refuse_gate_without_reports(edge())) == []
