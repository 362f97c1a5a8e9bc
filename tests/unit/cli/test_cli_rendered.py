"""`reconcile render`: what a node gets, where it came from, and never a secret in clear."""

import json

import pytest
from support.memory_files import fleet_of

from reconciler.cli.commands.render import format_documents
from reconciler.cli.main import main
from reconciler.errors import UsageError

FILES = {
    "fleet.yaml": """clusters:
  - name: edge
    kind: m2
    setting: base.json
    nodes:
      - {name: n-1, address: 10.0.0.1}
      - {name: n-2, address: 10.0.0.2, overlays: [{merge: {b: {c: "${env:C}"}}}]}
  - name: live
    kind: sora
    nodes: [{name: s@a.example, api: "http://10.0.0.9:3000/"}]
""",
    "base.json": '{"a": [],\n "b": {"d": "ü"}}',
}


def test_one_node_as_json():
    assert json.loads(format_documents(fleet_of(FILES), "n-2", explain=False)) == {
        "a": [],
        "b": {"d": "ü", "c": "${env:C}"},
    }


def test_each_value_with_its_file_and_line():
    assert format_documents(fleet_of(FILES), "edge/n-2", explain=True).splitlines() == [
        "/a: []  <- base.json:1",
        '/b/d: "ü"  <- base.json:2',
        '/b/c: "${env:C}"  <- fleet.yaml:7',
    ]


def test_nodes_that_differ_are_listed_and_nodes_that_do_not_need_no_name():
    assert format_documents(fleet_of(FILES), "", explain=False).splitlines() == [
        "2 nodes have 2 different settings; choose with --node:",
        "  edge/n-1",
        "  edge/n-2",
    ]
    same = {
        **FILES,
        "fleet.yaml": FILES["fleet.yaml"].replace(', overlays: [{merge: {b: {c: "${env:C}"}}}]', ""),
    }
    assert json.loads(format_documents(fleet_of(same), "", explain=False))["a"] == []


@pytest.mark.parametrize(("name", "words"), [("n-3", "did you mean n-"), ("s@a.example", "such as m2")])
def test_an_unknown_node_or_one_without_settings_is_an_error(name, words):
    with pytest.raises(UsageError) as caught:
        format_documents(fleet_of(FILES), name, explain=False)
    assert words in caught.value.remedy


def test_the_command_resolves_no_secret(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("C", "clear-text-of-c")
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert main(["render", str(tmp_path), "--node", "n-2"]) == 0
    out = capsys.readouterr().out
    assert "${env:C}" in out
    assert "clear-text-of-c" not in out
