"""M2 nodes that are told by Firestore: whose document is whose, what is planned, refused and warned of."""

import copy
import json
from dataclasses import replace

import pytest
from support.m2_polled import POLL, SERVER, tokens
from support.m2_wire import cluster_input, loaded, setting

from reconciler.core.bus_channels import BusChannel, BusId, BusKind, read_channel
from reconciler.core.host_entries import AllowedBus, HostEntries
from reconciler.core.observation import Observed, Present
from reconciler.core.secret import reveal
from reconciler.drivers.m2 import lints
from reconciler.drivers.m2.feed_topology import NODE_ID
from reconciler.drivers.m2.product import DRIVER
from reconciler.drivers.m2.schema import M2Cluster
from reconciler.errors import InputError
from reconciler.planning.unknown_entries import find_unknown_buses

PROJECT = "m2live-prod"
EVENTS = f"m2nodes/{NODE_ID}/events"


def by_firestore(feed, reports="", *, project=PROJECT):
    """A setting that is fed by Firestore, and reports by it where there is a path for that."""
    features = {"setting": {"feed": {"type": "firestore", "info": {"connect": "live", "doc": feed}}}}
    if reports:
        feedback = {"type": "firestore", "info": {"connect": "live", "doc": reports}}
        features["setting"]["feedback"] = feedback
        schedule = {"schedule": "*/15 * * * * *"}
        features["heartbeat"] = {"feedback": {**feedback, "info": {**feedback["info"], **schedule}}}
    info = {"projectId": project, "apiKey": "key", "appId": "1:2:web:3"}
    connection = [{"name": "live", "type": "firebasePubsub", "info": info}]
    server = {"connection": connection, "features": features}
    return setting(meta__version="B", env__management__server=server)


def where(document, ids, **poll):
    """A cluster of nodes with these ids in M2Live."""
    raw = [
        {"name": name, "address": f"{name}.example.com", **({"node_id": id_} if id_ else {})}
        for name, id_ in ids.items()
    ]
    found = cluster_input(document, nodes=tuple(ids), deliver="poll", poll=POLL | poll)
    entry = M2Cluster.model_validate(found.entry.model_dump(exclude_unset=True) | {"nodes": raw})
    return replace(found, entry=entry)


def path(name):
    return BusChannel(BusKind.FIRESTORE, (PROJECT,), name)


def list_problems(place):
    with pytest.raises(InputError) as caught:
        DRIVER.desire(place)
    return [(one.code, one.message) for one in caught.value.problems]


def test_the_id_of_each_node_is_in_the_path_that_is_written_and_read():
    place = where(by_firestore(EVENTS, "m2nodes/#m2live.nodeId"), {"n1": "id-1", "n2": "id-2"})
    found = DRIVER.list_bus_channels(place)
    assert {(one.node, one.channel, one.is_feed) for one in found} == {
        ("n1", path("m2nodes/id-1/events"), True),
        ("n1", path("m2nodes/id-1"), False),
        ("n2", path("m2nodes/id-2/events"), True),
        ("n2", path("m2nodes/id-2"), False),
    }
    feed = next(one for one in found if one.is_feed)
    assert feed.places == "/env/management/server/connection/0/info/projectId"
    assert feed.pointer == "/env/management/server/features/setting/feed/info/doc"


def test_the_setting_of_the_node_keeps_the_placeholder_and_has_no_url():
    document = by_firestore(EVENTS, f"m2reports/{NODE_ID}")
    document["env"]["management"]["server"]["features"]["purge"] = {"enable": False}
    desired = DRIVER.assign_tokens(DRIVER.desire(where(document, {"n1": "id-1"})), tokens("n1"))
    text = json.dumps(reveal(desired.targets[0].content.document))
    assert text.count(NODE_ID) == 3
    assert SERVER not in text
    assert "id-1" not in text


def test_a_node_whose_id_is_not_known_is_an_error_at_the_path():
    assert list_problems(where(by_firestore(EVENTS), {"n1": "id-1", "n2": ""})) == [
        ("unknown-node-id", f"the id of n2 in M2Live is not known, for which {NODE_ID} stands")
    ]


def test_nodes_that_this_program_calls_need_no_id():
    document = cluster_input(by_firestore(EVENTS), nodes=("n1",))
    DRIVER.desire(document)
    assert DRIVER.list_bus_channels(document) == ()


@pytest.mark.parametrize(
    ("doc", "words"),
    [
        ("m2nodes//events", "must not have an empty segment, and must neither begin nor end with a slash"),
        ("/m2nodes/a", "must not have an empty segment, and must neither begin nor end with a slash"),
        ("m2nodes/../events", "must not have the segment `..`, which Firestore reserves"),
        ("__all__", "must not have the segment `__all__`, which Firestore reserves"),
    ],
)
def test_a_path_that_firestore_refuses_is_an_error(doc, words):
    assert list_problems(where(by_firestore(doc), {"n1": ""})) == [
        ("bad-path", f"the path {doc} of n1 {words}")
    ]


@pytest.mark.parametrize("id_", ["a/b", "..", "#x", "a" * 129, "a b"])
def test_an_id_is_one_segment_of_a_path(id_):
    with pytest.raises(ValueError, match="the id of a node has 1 to 128 letters"):
        where(by_firestore(EVENTS), {"n1": id_})


def test_two_nodes_with_one_id_are_an_error_in_the_fleet_file():
    ((code, message),) = list_problems(where(by_firestore(EVENTS), {"n1": "id-1", "n2": "id-1"}))
    assert (code, message) == ("one-id-twice", "n2 has the `node_id` of n1: id-1")


@pytest.mark.parametrize(
    ("project", "paths", "words"),
    [
        ("other-project", (), f"{PROJECT}, named for n1, is not allowed by `firestore`"),
        (PROJECT, ("m2nodes/*/feed",), "m2nodes/id-1/events, named for n1, is not allowed by `firestore`"),
    ],
)
def test_a_database_or_path_that_the_host_does_not_allow_is_told_with_its_line(project, paths, words):
    known = HostEntries(buses=(AllowedBus(BusId(BusKind.FIRESTORE, "live"), frozenset({project}), paths),))
    channels = DRIVER.list_bus_channels(where(by_firestore(EVENTS), {"n1": "id-1"}))
    (found,) = find_unknown_buses(channels, known, "edge").values()
    assert found.message.startswith(words)
    assert str(found.position).startswith("setting.json:")
    if paths:
        assert found.remedy == "allow it there (`paths`), or correct the name here"


def test_a_node_is_told_at_the_path_that_it_listens_to_now():
    place = where(by_firestore("m2nodes/#m2live.nodeId"), {"n1": "id-1"})
    desired = DRIVER.assign_tokens(DRIVER.desire(place), tokens("n1"))
    now = copy.deepcopy(reveal(desired.targets[0].content.document))
    now["env"]["management"]["server"]["features"]["setting"]["feed"]["info"]["doc"] = EVENTS
    answers = {"n1": Present(loaded({**now, "functions": {"x": 1}}, base=""))}
    (step,) = DRIVER.plan(desired, Observed(answers)).steps
    assert step.action == "offer"
    assert read_channel(step.arguments.channel) == path("m2nodes/id-1/events")
    assert step.arguments.node_id == "id-1"


def test_one_path_for_feed_and_feedback_is_a_loop_that_is_warned_of():
    same = where(by_firestore(EVENTS, EVENTS), {"n1": "id-1"})
    assert "feed-loop" in {one.code for one in lints.lint(same)}
    other = where(by_firestore(EVENTS, f"m2reports/{NODE_ID}"), {"n1": "id-1"})
    assert "feed-loop" not in {one.code for one in lints.lint(other)}


def test_a_path_of_several_nodes_is_warned_of_and_one_with_their_ids_is_not():
    shared = where(by_firestore("m2nodes/all"), {"n1": "id-1", "n2": "id-2"})
    assert "shared-feed-channel" in {one.code for one in lints.lint(shared)}
    own = where(by_firestore(EVENTS), {"n1": "id-1", "n2": "id-2"})
    assert "shared-feed-channel" not in {one.code for one in lints.lint(own)}


def test_the_id_is_no_content_of_the_node():
    with_id, without = ({"n1": id_} for id_ in ("id-1", ""))
    contents = [where(by_firestore("a/b"), ids).entry.plain_content() for ids in (with_id, without)]
    assert contents[0] == contents[1]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"messageVer": "1", "action": {"api": "/setting/upload"}, "parameters": []}, True),
        ({"messageVer": "1", "action": {"api": "/setting/upload", "event": "e"}}, False),
        ({"messageVer": "1", "node": {}, "action": {"api": "/setting/upload"}}, False),
        ({"messageVer": "1", "node": {}}, False),
        ([], False),
    ],
)
def test_an_offer_that_comes_back_is_known_as_one(message, expected):
    assert DRIVER.central_server().is_own_feed(json.dumps(message).encode()) is expected
    assert not DRIVER.central_server().is_own_feed(b"{")
