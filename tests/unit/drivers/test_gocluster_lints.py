"""Lints of a Go cluster: its size, names without an admin API, a template without peers."""

import pytest
from support.gocluster import TEMPLATE, cluster_input, entry

from reconciler.diagnostic import Severity
from reconciler.drivers.gocluster import lints
from reconciler.drivers.gocluster.product import DRIVER


def lint(count=3, *, template=TEMPLATE, name=None):
    own = entry(count)
    if name:
        own["nodes"][0]["name"] = name
    found = list(DRIVER.lint(cluster_input(own, template=template)))
    assert all(one.severity is Severity.WARNING and one.code in lints.CODES for one in found)
    return [(one.code, one.pointer, one.message) for one in found]


@pytest.mark.parametrize("count", [3, 5, 7])
def test_odd_numbers_are_right(count):
    assert lint(count) == []


@pytest.mark.parametrize(("count", "lost"), [(4, 1), (6, 2), (8, 3)])
def test_an_even_number_survives_no_more_than_one_less(count, lost):
    ((code, pointer, message),) = lint(count)
    assert (code, pointer) == ("even-mesh", "/clusters/0/nodes")
    assert f"survives the loss of {lost}, the same as {count - 1}" in message


def test_two_nodes_have_a_quorum_also_alone():
    assert [code for code, _, _ in lint(2)] == ["mesh-of-two"]


@pytest.mark.parametrize(("name", "is_told"), [("cluster", True), ("apiv1", True), ("node-1", False)])
def test_a_name_of_letters_of_the_path_has_no_admin_api(name, is_told):
    assert [(code, place) for code, place, _ in lint(name=name)] == (
        [("admin-name", "/clusters/0/nodes/0/name")] if is_told else []
    )


@pytest.mark.parametrize("peers", ["peers", "peer_addresses"])
def test_a_template_without_peers_is_told(peers):
    assert [code for code, _, _ in lint(template='{"name": {{node.name}}}')] == ["template-without-peers"]
    assert lint(template=f'{{"all": {{{{{peers}}}}}}}') == []
