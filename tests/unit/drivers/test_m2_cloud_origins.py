from support.memory_files import json_files

from reconciler.core.plan import Revision
from reconciler.desired.fleet import load_fleet
from reconciler.drivers.registry import DRIVERS
from reconciler.ports.source import Snapshot


def find(**parts):
    whole = {"fleet.json": {"clusters": [CLUSTER]}, "s.json": {"meta": {"version": "1"}, **parts}}
    fleet = load_fleet(Snapshot(Revision("here", "1" * 40, "1"), json_files(whole)), DRIVERS)
    found = DRIVERS["m2"].find_cloud_expressions(fleet.cluster_inputs[0])
    return {place: str(expression) + expression.rest for place, expression in found.items()}


CLUSTER = {
    "name": "edge",
    "kind": "m2",
    "setting": "s.json",
    "nodes": [{"name": "a", "address": "10.0.0.1"}, {"name": "b", "address": "10.0.0.2"}],
}


def nodelist(**more):
    connection = {
        "name": "c",
        "type": "awssdk3",
        "info": {"accessKeyId": "a", "secretAccessKey": "${env:A}", "region": "r"},
    }
    feed = {
        "type": "awssdk3",
        "info": {"connect": "c", "tag": "type=parent;type=child;", "schedule": "*/15 * * * * *"},
    }
    feature = {"enable": True, "feed": feed, "feedback": {"type": "", "info": {}}, **more}
    return {"management": {"server": {"connection": [connection], "features": {"nodelist": feature}}}}


def test_the_expressions_of_origins_are_found_where_they_stand():
    origin = {"address": ["198.51.100.1", "#aws:vm:tag=origin#:8080", "#oci:vm:tag=k"]}
    hosting = [{"name": "a.example.com", "origin": origin}, {"name": "b.example.com"}]
    assert find(hosting=hosting) == {
        "origin.address/1 of a.example.com": "aws:vm:tag=origin:8080",
        "origin.address/2 of a.example.com": "oci:vm:tag=k",
    }


def test_the_tags_of_a_list_of_nodes_are_an_expression_of_its_cloud():
    assert find(env=nodelist()) == {"nodelist.tag": "aws:vm:tag=type=child;type=parent;"}
    assert find(env=nodelist(enable=False)) == {}


def test_a_setting_without_clouds_has_none():
    assert find() == {}
