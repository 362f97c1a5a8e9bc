"""Findings and violations of many nodes are shown as few sentences, and none is lost."""

import pytest

from reconciler.core.finding_groups import MOST_VARIANTS, group_findings
from reconciler.diagnostic import Diagnostic, Severity


def refuse(
    node: str, message: str = "{}: this host may lose it", remedy: str = "keep the entry"
) -> Diagnostic:
    target = f"edge/{node}"
    return Diagnostic(
        Severity.ERROR, "lock-out", message.format(node), remedy.format(node), target=target, hold=False
    )


def test_a_hundred_nodes_with_one_reason_are_one_group_with_their_names():
    (group,) = group_findings(refuse(f"edge-{number:03}") for number in range(1, 101))
    assert group.text == "edge-001 … edge-100 (100 nodes): this host may lose it"
    assert (group.finding.code, group.finding.remedy) == ("lock-out", "keep the entry")


def test_all_names_are_shown_if_everything_is_asked_for():
    names = [f"n{number}" for number in range(1, 40, 2)]
    (short,), (full,) = (group_findings(map(refuse, names), full=full) for full in (False, True))
    assert short.text.startswith("n1, n3, n5, n7, n9, n11 … (20 nodes): ")
    assert full.text == f"{', '.join(names)} (20 nodes): this host may lose it"


def test_a_single_violation_is_as_its_guard_says():
    (group,) = group_findings([refuse("edge-1")])
    assert group.text == "edge-1: this host may lose it"


def test_a_command_in_a_remedy_names_no_sentence():
    (group,) = group_findings(
        refuse(name, remedy="wait, or run `reconcile hold {}`") for name in ("a1", "b1")
    )
    assert group.finding.remedy == "wait, or run `reconcile hold NODE`"


@pytest.mark.parametrize(("nodes", "groups"), [(MOST_VARIANTS, MOST_VARIANTS), (MOST_VARIANTS + 1, 1)])
def test_many_different_messages_have_one_example(nodes: int, groups: int):
    found = [refuse(f"n{number}", f"{{}} has revision {number:03x}") for number in range(1, nodes + 1)]
    assert len(group_findings(found)) == groups
    assert len(group_findings(found, full=True)) == nodes
    if groups == 1:
        assert group_findings(found)[0].text == (
            f"n1 … n{nodes} ({nodes} nodes), with {nodes} different messages, such as: n1 has revision 001"
        )


def test_a_hold_and_a_refusal_or_two_clusters_are_not_mixed():
    hold = Diagnostic(Severity.ERROR, "lock-out", "a: wait", "keep the entry", target="edge/a", hold=True)
    other = Diagnostic(Severity.ERROR, "lock-out", "a: wait", "keep the entry", target="live/a")
    third = Diagnostic(Severity.ERROR, "lock-out", "a: wait", "keep the entry", target="edge/a")
    assert [group.finding.hold for group in group_findings([hold, other, third])] == [True, False, False]


def test_clusters_with_one_reason_are_one_group():
    found = [
        Diagnostic(Severity.ERROR, "frozen", f"{name}: no changes", "wait", target=name, hold=True)
        for name in ("edge", "live")
    ]
    assert [group.text for group in group_findings(found)] == ["edge, live (2 clusters): no changes"]


@pytest.mark.parametrize("place", ["192.0.2.{}:8080", "[2001:db8::{}]:8080", "http://n{}.example:8080/api"])
def test_sentences_that_differ_in_addresses_are_one_group_and_a_single_one_keeps_its_address(place: str):
    found = [
        refuse(f"n{number}", f"{{}} at {place.format(number)} belongs to two fleets")
        for number in range(1, 8)
    ]
    (group,) = group_findings(found)
    assert group.text.startswith("n1 … n7 (7 nodes): each node at ")
    assert "ADDRESS" in group.text
    (alone,) = group_findings(found[:1])
    assert place.format(1) in alone.text


def test_an_address_that_is_all_that_a_sentence_is_about_is_not_lost():
    found = [refuse("n1", "{}: 192.0.2.1:80 and version 1.2.3.4 differ"), refuse("n2", "{}: version 1.2.3.5")]
    assert [group.text for group in group_findings(found)] == [
        "n1: 192.0.2.1:80 and version 1.2.3.4 differ",
        "n2: version 1.2.3.5",
    ]
