"""Nodes of every product that answer as no node does: each is named with its URL, and the remedy fits."""

import json
import re
import time

import pytest
from support.commands import run_program, write_files
from support.hostile_answers import ANSWERS, hostile_servers
from support.m2_settings import managed_setting

LIBRARY = (
    *("Errno", "Brotli", "Error(", "object at", "Traceback", "httptools", "orjson", "pydantic"),
    *("zlib", "codec can't", "Expecting value", "NoneType", "<class", "invalid literal", "s3cret", "\x1b"),
)
"""What no operator should read."""

PATHS = {"m2": "/setting/setting.json", "sora": "/", "collab": "/status", "gocluster": "/api/v1/cluster/"}


@pytest.fixture(scope="module")
def places():
    with hostile_servers() as places:
        yield places


def make_cluster(kind, places):
    hosts = {name: place.partition(":") for name, place in places.items()}
    cluster = {"name": "edge", "kind": kind, "timeouts": {"read": 1, "connect": 2}, "concurrency": 50}
    if kind == "m2":
        nodes = [{"name": name, "address": place} for name, place in places.items()]
        return {**cluster, "setting": "s.json", "nodes": nodes}
    if kind == "sora":
        nodes = [{"name": f"{name}@h.example", "api": f"http://{place}/"} for name, place in places.items()]
        return {**cluster, "nodes": nodes}
    if kind == "collab":
        nodes = [{"name": name, "host": host, "port": int(port)} for name, (host, _, port) in hosts.items()]
        return {**cluster, "nodes": nodes}
    nodes = [
        {"name": name, "addr": f"{host}:9654", "api": f"http://{places[name]}"}
        for name, (host, _, _) in hosts.items()
    ]
    return {**cluster, "observe": True, "nodes": nodes, "config": {"template": "app.tmpl", "file": "app"}}


@pytest.mark.parametrize("kind", PATHS)
def test_an_answer_that_is_no_node_s_is_named_with_its_url_and_a_fitting_remedy(
    tmp_path, capsys, places, kind
):
    source = write_files(
        tmp_path / "fleet",
        {
            "fleet.yaml": json.dumps({"clusters": [make_cluster(kind, places)]}),
            "s.json": managed_setting("a.example", version="1"),
            "app.tmpl": "{{peers}}",
        },
    )
    host = {"files": {"app": {"path": str(tmp_path / "{node}.json")}}}
    write_files(tmp_path, {"host.yaml": json.dumps(host)})
    for name in places:
        (tmp_path / f"{name}.json").write_text("[]")
    begin = time.monotonic()
    options = ("--dry-run", "--no-state", "--host-config", tmp_path / "host.yaml", source)
    told = run_program(capsys, *options, "--format", "json", status=1)
    assert time.monotonic() - begin < 30
    found = {}
    for finding in json.loads(told)["plan"]["clusters"][0]["findings"]:
        if finding["severity"] == "error":
            node = finding["target"].partition("/")[2].partition("@")[0]
            assert node not in found, "each node has one finding"
            found[node] = finding
    wrong = []
    for name, (_, words, remedy) in ANSWERS.items():
        message, own = found[name]["message"], found[name]["remedy"]
        url = f"http://{places[name]}{PATHS[kind]}"
        if url not in message or words not in message or remedy not in own or "start the node" in own:
            wrong.append((name, message, own))
    assert wrong == []
    words = " ".join(f"{one['message']} {one['remedy']}" for one in found.values())
    assert not [word for word in LIBRARY if word in words]
    assert not re.search(r"\bb['\"]", words), "bytes as Python shows them"
