"""A purge over a message bus: what a message without an addressee cannot do is refused at once."""

from types import SimpleNamespace

import pytest

from reconciler.core.bus_channels import BusChannel, BusKind
from reconciler.errors import UsageError
from reconciler.planning.plan_operation import _refuse_shared_channels
from reconciler.ports.operations import OperationNode


def topic(name):
    return BusChannel(BusKind.KAFKA, ("kafka-1:9092",), name)


def refusal(*nodes, waves=(("a", "b"),)):
    cluster = SimpleNamespace(name="edge", nodes={node.name: node for node in nodes})
    try:
        _refuse_shared_channels(cluster, waves)
    except UsageError as error:
        return error.message
    return ""


def node(name, channel="shared", group=""):
    return OperationNode(name, 15.0, topic(channel), group or name)


@pytest.mark.parametrize(
    ("nodes", "waves"),
    [
        ((node("a", "t.a"), node("b", "t.b")), (("a",), ("b",))),
        ((node("a"), node("b")), (("a", "b"),)),
        ((node("a", "t.a", "g"), node("b", "t.b", "g")), (("a", "b"),)),
        ((OperationNode("a", 15.0), OperationNode("b", 15.0)), (("a",), ("b",))),
    ],
)
def test_what_each_node_gets_alone_or_all_get_together_is_accepted(nodes, waves):
    assert refusal(*nodes, waves=waves) == ""


def test_one_group_on_one_topic_is_refused():
    assert "have the groupId g on Kafka topic shared" in refusal(node("a", group="g"), node("b", group="g"))


def test_one_topic_in_two_waves_is_refused():
    assert "in different waves" in refusal(node("a"), node("b"), waves=(("a",), ("b",)))
