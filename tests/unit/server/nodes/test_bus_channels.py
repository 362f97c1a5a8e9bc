"""Which nodes share a channel of Firestore: a collection and its documents are written and heard together."""

from types import SimpleNamespace

import pytest

from reconciler.core.bus_channels import BusChannel, BusId, BusKind, NodeBusUse
from reconciler.core.host_entries import AllowedBus
from reconciler.server.nodes.bus_channels import BusDirectory

ALLOWED = AllowedBus(BusId(BusKind.FIRESTORE, "live"), frozenset({"m2live"}))
TABLE = SimpleNamespace(enrolments=0, find_place=lambda *_: object())
A, B, C = (("c", name) for name in "abc")


def path(name):
    return frozenset({BusChannel(BusKind.FIRESTORE, ("m2live",), name)})


def test_who_writes_a_document_reports_in_its_collection_too():
    directory = BusDirectory()
    use = {A: path("reports"), B: path("reports/b"), C: path("others/c")}
    directory.replace({node: NodeBusUse(reports=one) for node, one in use.items()}, {})
    # Else b could report for a, in the collection that is a's alone by the settings.
    assert directory.find_reporters(ALLOWED, "reports", TABLE) == (A, B)
    assert directory.find_reporters(ALLOWED, "reports/b", TABLE) == (A, B)
    assert directory.find_reporters(ALLOWED, "others/c", TABLE) == (C,)


def test_documents_of_one_collection_are_each_a_nodes_own():
    directory = BusDirectory()
    use = {A: path("reports/a"), B: path("reports/b")}
    directory.replace({node: NodeBusUse(reports=one) for node, one in use.items()}, {})
    assert directory.find_reporters(ALLOWED, "reports/a", TABLE) == (A,)


@pytest.mark.parametrize(
    ("feed", "is_shared"),
    [("feeds", True), ("feeds/a", True), ("feeds/b", False), ("feeds/a/more", False), ("feed", False)],
)
def test_who_listens_to_a_collection_hears_what_is_for_its_documents(feed, is_shared):
    directory = BusDirectory()
    directory.replace({A: NodeBusUse(path("feeds/a")), B: NodeBusUse(path(feed))}, {})
    (channel,) = path("feeds/a")
    assert directory.is_shared(SimpleNamespace(channel=channel, cluster="c", node="a")) is is_shared
