"""A commit that deletes, moves, renames or replaces a reference shows nothing of what the node has there."""

import json
import urllib.request

import pytest
from support.git_repositories import Repository, git

from reconciler.cli.demo_fixtures import DemoNodes
from reconciler.cli.main import main
from reconciler.documents.document import parse_document
from reconciler.secrets.references import list_reference_places
from reconciler.simulation.addresses import find_free_addresses

CLEAR = "planted-clear-value"
REFERENCE = "${env:RECONCILE_SECRET_X}"


def setting(custom):
    management = {"api": {"allowList": [{"addr": "127.0.0.0/8"}]}}
    return json.dumps({"meta": {"version": "1"}, "env": {"management": management}, "custom": custom})


AFTER = {
    "deleted": {"a": 1},
    "moved": {"a": 1, "elsewhere": REFERENCE},
    "renamed": {"a": 1, "note": {"inner": REFERENCE}},
    "replaced": {"a": 1, "note": "in the open now"},
    "kept": {"a": 2, "note": REFERENCE},
}


@pytest.fixture(scope="module")
def applied(tmp_path_factory):
    """A repository whose only commit was applied to a node, with the node."""
    folder = tmp_path_factory.mktemp("earlier")
    (address,) = find_free_addresses(1)
    cluster = {"name": "edge", "kind": "m2", "setting": "s.json", "overlays": ["o.yaml"]}
    fleet = {"clusters": [{**cluster, "nodes": [{"name": "e-1", "address": str(address)}]}]}
    files = {
        "fleet.json": json.dumps(fleet),
        "s.json": setting({"a": 1}),
        "o.yaml": f'custom: {{note: "{REFERENCE}"}}\n',
    }
    with pytest.MonkeyPatch.context() as patch, DemoNodes() as nodes:
        patch.setenv("RECONCILE_SECRET_X", CLEAR)
        repository = Repository.make(folder / "fleet", files)
        nodes.serve(repository.folder)
        assert main(["--yes", "--state", str(folder / "state"), str(repository.folder)]) == 0
        with urllib.request.urlopen(f"http://{address}/setting/setting.json", timeout=10) as answer:
            assert CLEAR in answer.read().decode()
        yield repository, folder / "state"


@pytest.mark.parametrize("name", AFTER)
def test_what_a_node_has_where_a_reference_was_is_never_printed(applied, name, tmp_path, monkeypatch, capsys):
    repository, state = applied
    monkeypatch.delenv("RECONCILE_SECRET_X", raising=False)
    first = git(repository.folder, "rev-list", "--max-parents=0", "main")
    git(repository.folder, "reset", "--quiet", "--hard", first)
    repository.commit({"s.json": setting(AFTER[name]), "o.yaml": "{}\n"}, name)
    said = []
    for folder in (tmp_path / "none", state):  # CI has neither state nor secrets
        assert main(["--dry-run", "--format", "json", "--state", str(folder), str(repository.folder)]) == 0
        said.append(capsys.readouterr().out)
    repository.commit({"README": name}, "a commit between")
    assert main(["--dry-run", "--format", "markdown", "--state", str(state), str(repository.folder)]) == 0
    said.append(capsys.readouterr().out)
    assert not [text for text in said if CLEAR in text]
    assert [text for text in said if "edge" not in text] == []
    if name != "kept":
        assert [text for text in said if "/custom" not in text] == []


def test_moves_of_files_that_stay_count_for_references_that_go():
    referring = [("s.json", json.dumps({"a": {"b": REFERENCE}}).encode())]
    moves = [{"op": "move", "from": "/c", "path": "/d/-"}, {"op": "copy", "from": "/a", "path": "/c"}]
    kept = parse_document("o.json", json.dumps(moves).encode())
    assert list_reference_places(referring) == {("a", "b")}
    assert list_reference_places(referring, [kept]) == {("a", "b"), ("c", "b"), ("d", "b")}
    endless = parse_document(
        "o.json", json.dumps([{"op": "copy", "from": "/a", "path": "/a/a"}] * 50).encode()
    )
    assert len(list_reference_places(referring, [endless])) <= 100


@pytest.mark.parametrize(
    ("name", "value", "places"),
    [
        ("s.json", {"a": {"b": [{"c": REFERENCE}]}}, {("a", "b", "c")}),
        ("s.json", {"a": f"$${REFERENCE[1:]}"}, set()),
        ("o.json", [{"op": "add", "path": "/a/0/b", "value": {"c": REFERENCE}}], {("a", "b", "c")}),
        (
            "o.json",
            [{"op": "add", "path": "/a", "value": REFERENCE}, {"op": "move", "from": "/a", "path": "/b/-"}],
            {("a",), ("b",)},
        ),
        ("fleet.json", {"clusters": [{"overlays": [{"merge": {"x": {"y": REFERENCE}}}]}]}, {("x", "y")}),
        (
            "fleet.json",
            {"nodes": [{"overlays": [{"patch": [{"op": "add", "path": "/p", "value": REFERENCE}]}]}]},
            {("p",)},
        ),
    ],
)  # fmt: skip
def test_places_of_references_are_those_in_the_settings(name, value, places):
    assert (
        list_reference_places([(name, json.dumps(value).encode()), ("bad.json", b"{ ${env: from")]) == places
    )
