"""Sora's lints: the size of a cluster, and names by which nodes do not reach each other."""

from __future__ import annotations

import json

import pytest

from reconciler.core.plan import Revision
from reconciler.diagnostic import Severity
from reconciler.documents.document import parse_document
from reconciler.drivers.sora import lints
from reconciler.drivers.sora.product import DRIVER
from reconciler.drivers.sora.schema import SoraCluster
from reconciler.ports.cluster_input import ClusterInput


def lint(regular, temporary=0, **first):
    count = regular + temporary
    nodes = [
        {"name": f"n{number}@192.0.2.{number}", "api": f"http://192.0.2.{number}:3000/"}
        | ({"temporary": True} if number > regular else {})
        for number in range(1, count + 1)
    ]
    nodes[0] |= first
    entry = {"name": "live", "kind": "sora", "nodes": nodes}
    fleet = parse_document("fleet.json", json.dumps({"clusters": [entry]}, indent=1).encode())
    cluster_input = ClusterInput(
        SoraCluster.model_validate(entry), fleet, "/clusters/0", Revision("m", "0", "0")
    )
    found = list(DRIVER.lint(cluster_input))
    for problem in found:
        assert problem.severity is Severity.WARNING
        assert problem.code in lints.CODES
        assert problem.position == fleet.position(problem.pointer)
        assert problem.position.line > 1
    return [(problem.code, problem.pointer, problem.message) for problem in found]


def test_the_driver_has_the_lints():
    assert DRIVER.lint_codes == lints.CODES


@pytest.mark.parametrize(("count", "words"), [(1, "1 regular node:"), (2, "2 regular nodes:")])
def test_one_and_two_regular_nodes_are_too_few(count, words):
    ((code, pointer, message),) = lint(count)
    assert (code, pointer) == ("small-cluster", "/clusters/0/nodes")
    assert words in message


@pytest.mark.parametrize(("count", "lost"), [(4, 1), (6, 2)])
def test_an_even_number_holds_no_more_than_one_less(count, lost):
    ((code, pointer, message),) = lint(count)
    assert (code, pointer) == ("even-cluster", "/clusters/0/nodes")
    assert f"survives the loss of {lost}, the same as {count - 1}" in message


@pytest.mark.parametrize("count", [3, 5, 7])
def test_an_odd_number_of_three_or_more_is_right(count):
    assert lint(count) == []


def test_temporary_nodes_do_not_count():
    assert lint(3, 1) == []
    assert [code for code, *_ in lint(2, 1)] == ["small-cluster"]
    assert lint(0, 2) == []  # an error of the driver


def test_a_name_needs_a_dot_behind_the_at():
    ((code, pointer, message),) = lint(3, name="n1@sora")
    assert (code, pointer) == ("node-name-without-dot", "/clusters/0/nodes/0/name")
    assert "n1@sora" in message
    assert lint(3, name="n1@sora.example") == []
