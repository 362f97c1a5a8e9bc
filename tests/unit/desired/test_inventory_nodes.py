import json

import pytest
from support.inventories import NOW, inventory, listed, query, unread
from support.memory_files import json_files
from support.simulated_nodes import setting

from reconciler.core.plan import Revision
from reconciler.desired.fleet import load_fleet, read_fleet
from reconciler.desired.inventory_nodes import read_queries
from reconciler.desired.validation import validate_files
from reconciler.drivers.registry import DRIVERS
from reconciler.errors import InputError
from reconciler.ports.inventory import Inventory, UnreadInventory
from reconciler.ports.source import Snapshot

REVISION = Revision("here", "1" * 40, "1")
EDGE = {"inventory": "aws:vm:tag=edge"}


def cluster(*nodes, name="edge", **more):
    return {"name": name, "kind": "m2", "setting": "s.json", "nodes": list(nodes), **more}


def snapshot(*clusters, known=None, **files):
    whole = {"fleet.json": {"clusters": list(clusters)}, "s.json": setting(), **files}
    return Snapshot(REVISION, json_files(whole), inventory=known or Inventory())


def load(*clusters, known=None, **files):
    return load_fleet(snapshot(*clusters, known=known, **files), DRIVERS)


def problems(*clusters, known=None):
    return [one for one in read_fleet(snapshot(*clusters, known=known), DRIVERS).problems if one.pointer]


def test_each_instance_is_a_node_named_by_its_id():
    fleet = load(
        cluster({"name": "own", "address": "10.0.0.9"}, {**EDGE, "domain": "a", "labels": {"site": "x"}}),
        known=inventory(i_2="10.0.0.2", i_1="10.0.0.1"),
    )
    (found,) = fleet.cluster_inputs
    nodes = {node.name: (node.address, node.domain) for node in found.entry.members()}
    assert nodes == {"own": ("10.0.0.9", ""), "i-1": ("10.0.0.1", "a"), "i-2": ("10.0.0.2", "a")}
    assert found.inventory.keys() == {"i-1", "i-2"}
    assert found.node_pointers == ("/clusters/0/nodes/0", "/clusters/0/nodes/1", "/clusters/0/nodes/1")
    assert found.documents.keys() == nodes.keys()
    assert found.unread is None


def test_a_port_is_put_behind_each_address():
    fleet = load(cluster({"inventory": "#aws:vm:tag=edge#:8080"}), known=inventory(i_1="10.0.0.1"))
    (node,) = fleet.cluster_inputs[0].entry.members()
    assert node.address == "10.0.0.1:8080"


def test_the_overlays_of_an_item_are_those_of_its_nodes():
    item = {**EDGE, "overlays": [{"merge": {"meta": {"version": "9"}}}]}
    fleet = load(cluster({"name": "own", "address": "10.0.0.9"}, item), known=inventory(i_1="10.0.0.1"))
    documents = fleet.cluster_inputs[0].documents
    assert documents["i-1"].value["meta"]["version"] == "9"
    assert documents["own"].value["meta"]["version"] == "1"


@pytest.mark.parametrize("known", [unread(), Inventory()])
def test_a_cluster_whose_instances_are_not_known_has_no_nodes_and_says_why(known):
    other = cluster({"name": "own", "address": "10.0.0.9"}, name="other")
    fleet = load(cluster({"name": "n", "address": "10.0.0.8"}, EDGE), other, known=known)
    found, untouched = fleet.cluster_inputs
    assert found.entry.members() == ()
    assert found.unread is not None
    assert untouched.unread is None
    assert len(untouched.entry.members()) == 1
    assert fleet.clusters == {"edge", "other"}


def test_one_list_that_is_not_known_is_enough():
    known = Inventory(
        {query(): listed(i_1="10.0.0.1"), query("oci:vm:tag=edge"): UnreadInventory("away")}, NOW
    )
    (found,) = load(cluster(EDGE, {"inventory": "oci:vm:tag=edge"}), known=known).cluster_inputs
    assert found.entry.members() == ()
    assert found.unread.message == "away"


@pytest.mark.parametrize(
    ("item", "place", "words"),
    [
        ({"inventory": "aws:vm"}, "inventory", "is not a cloud expression"),
        ({"inventory": 5}, "inventory", "must be text"),
        ({"inventory": "aws:vip:tag=edge"}, "inventory", "load balancers"),
        ({"inventory": "aws:vm:tag=edge", "account": "../x"}, "inventory", "`account`"),
        ({"inventory": "aws:vm:tag=edge", "name": "n"}, "name", "comes from the inventory"),
        ({"inventory": "aws:vm:tag=edge", "address": "10.0.0.1"}, "address", "comes from the inventory"),
        ({"inventory": "aws:vm:tag=edge", "adress": "10.0.0.1"}, "adress", "address"),
        ({"inventory": "aws:vm:tag=edge", "domain": 5}, "domain", "domain"),
    ],
)
@pytest.mark.parametrize("known", [Inventory(), inventory(i_1="10.0.0.1", i_2="10.0.0.2")])
def test_a_wrong_item_is_told_once_at_its_place(item, place, words, known):
    (found,) = problems(cluster({"name": "own", "address": "10.0.0.9"}, item), known=known)
    assert found.pointer == f"/clusters/0/nodes/1/{place}"
    assert words in found.message + found.remedy


def test_nodes_of_other_products_do_not_come_from_an_inventory():
    sora = {"name": "s", "kind": "sora", "nodes": [{"inventory": "aws:vm:tag=edge"}]}
    found = problems(sora, known=inventory(i_1="10.0.0.1"))
    assert "people decide" in found[0].message


@pytest.mark.parametrize(
    ("nodes", "known", "words"),
    [
        ([EDGE, {"inventory": "aws:vm:tag=edge"}], {"i_1": "10.0.0.1"}, "fits two items"),
        ([EDGE], {"i_1": "10.0.0.1", "i_2": "10.0.0.1"}, "have the same address"),
        ([EDGE, {"name": "own", "address": "10.0.0.1:10040"}], {"i_1": "10.0.0.1"}, "have the same address"),
    ],
)
def test_instances_that_contradict_the_file_refuse_their_cluster_alone(nodes, known, words):
    other = cluster({"name": "other", "address": "10.0.0.99"}, name="other")
    found, untouched = load(cluster(*nodes), other, known=inventory(**known)).cluster_inputs
    assert words in found.unread.message
    assert found.entry.members() == ()
    assert untouched.unread is None


def test_an_instance_of_two_clusters_refuses_both():
    known = inventory(i_1="10.0.0.1")
    third = cluster({"name": "own", "address": "10.0.0.9"}, name="c")
    one, two, three = load(
        cluster(EDGE, name="a"), cluster(EDGE, name="b"), third, known=known
    ).cluster_inputs
    assert "also in the cluster b" in one.unread.message
    assert "also in the cluster a" in two.unread.message
    assert three.unread is None


def test_files_are_checked_without_a_cloud():
    found = validate_files(snapshot(cluster(EDGE, EDGE), cluster(EDGE, name="two")), DRIVERS)
    assert found.valid, found.problems
    broken = validate_files(snapshot(cluster(EDGE), **{"s.json": setting(hosting=5)}), DRIVERS)
    assert not broken.valid


def test_the_queries_of_a_revision_are_read_before_it():
    files = json_files(
        {"fleet.json": {"clusters": [cluster(EDGE, {"inventory": "oci:vm:tag=k", "account": "x"})]}}
    )
    assert [str(one) for one in read_queries(files, DRIVERS)] == ["aws:vm:tag=edge", "oci:vm:tag=k of x"]
    assert read_queries(json_files({"fleet.json": {"clusters": [cluster()]}}), DRIVERS) == ()
    assert read_queries(json_files({"other.json": {}}), DRIVERS) == ()
    wrong = {"fleet.json": {"clusters": [cluster({"inventory": "x"}), 5, {"nodes": 5}]}}
    assert read_queries(json_files(wrong), DRIVERS) == ()


def lone(*members):
    value = setting()
    value["env"]["management"]["cluster"] = {"discover": {"members": list(members)}}
    return json_files({"setting.json": value})


def test_the_members_of_a_lone_setting_are_resolved_and_delivered_as_they_are_written():
    files = lone("10.0.0.9:9900", "#aws:vm:tag=edge#:9900", "#aws:vm:tag=edge#:9900")
    assert read_queries(files, DRIVERS) == (query(),)
    fleet = load_fleet(Snapshot(REVISION, files, inventory=inventory(i_1="10.0.0.1")), DRIVERS)
    (found,) = fleet.cluster_inputs
    assert {node.name: node.address for node in found.entry.members()} == {
        "10.0.0.9": "10.0.0.9",
        "i-1": "10.0.0.1",
    }
    assert "#aws:vm:tag=edge#:9900" in json.dumps(found.documents["i-1"].value)


def test_a_lone_setting_without_an_answer_is_a_cluster_without_known_nodes():
    fleet = load_fleet(Snapshot(REVISION, lone("#aws:vm:tag=edge"), inventory=unread()), DRIVERS)
    (found,) = fleet.cluster_inputs
    assert found.unread.message == "it does not answer"


@pytest.mark.parametrize(
    ("member", "words"), [("#aws:vip:tag=k", "load balancers"), ("#gcp:vm:tag=k", "is not a")]
)
def test_a_member_that_cannot_be_asked_for_is_an_error(member, words):
    with pytest.raises(InputError, match=words):
        load_fleet(Snapshot(REVISION, lone(member)), DRIVERS)


@pytest.mark.parametrize("known", [unread(), inventory(i_1="10.0.0.1"), None])
def test_a_group_may_name_instances_that_are_not_there(known):
    groups = [
        {"name": "canary", "nodes": ["i-0abc", "x-*"], "overlays": [{"merge": {"meta": {"version": "2"}}}]}
    ]
    made = snapshot(cluster(EDGE, groups=groups), known=known)
    if known is None:
        assert validate_files(made, DRIVERS).valid
    else:
        load_fleet(made, DRIVERS)
