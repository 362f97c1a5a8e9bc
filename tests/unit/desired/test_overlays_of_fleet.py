"""Overlays in the fleet file: their order, what nodes share, where values came from, what is wrong."""

from pathlib import Path

import pytest
from support.memory_files import fleet_of, problems_of

from reconciler.core.secret import Secret
from reconciler.drivers.m2.product import DRIVER
from reconciler.errors import SecretError

FLEET = """clusters:
  - name: edge
    kind: m2
    setting: base.json
    overlays: [cluster.yaml]
    groups:
      - name: north
        nodes: ["n-*"]
        overlays:
          - merge: {level: group, who: {group: north}}
      - name: second
        nodes: [n-2, s-1]
        overlays:
          - patch: [{op: add, path: /list/-, value: second}]
    nodes:
      - {name: n-1, address: 10.0.0.1}
      - name: n-2
        address: 10.0.0.2
        overlays: [{merge: {level: node}}]
      - {name: s-1, address: 10.0.0.3}
      - {name: n-3, address: 10.0.0.4}
"""
FILES = {
    "fleet.yaml": FLEET,
    "base.json": '{"level": "base", "list": ["base"], "who": {"base": true}}',
    "cluster.yaml": "level: cluster\nwho: {cluster: yes-it-is}\n",
}


def test_base_then_cluster_then_groups_then_node():
    documents = fleet_of(FILES).cluster_inputs[0].documents
    assert {name: (each.value["level"], each.value["list"]) for name, each in documents.items()} == {
        "n-1": ("group", ["base"]),
        "n-2": ("node", ["base", "second"]),
        "s-1": ("cluster", ["base", "second"]),
        "n-3": ("group", ["base"]),
    }
    assert documents["n-2"].value["who"] == {"base": True, "cluster": "yes-it-is", "group": "north"}


def test_nodes_with_the_same_overlays_share_one_object():
    documents = fleet_of(FILES).cluster_inputs[0].documents
    assert documents["n-1"] is documents["n-3"]
    assert len({id(each) for each in documents.values()}) == 3


def test_values_know_the_line_of_the_fleet_file_or_of_the_overlay():
    document = fleet_of(FILES).cluster_inputs[0].documents["n-2"]
    assert str(document.position("/level")) == "fleet.yaml:19:36"
    assert str(document.position("/list/1")) == "fleet.yaml:14:53"
    assert str(document.position("/who/cluster")) == "cluster.yaml:2:16"
    assert str(document.position("/who/base")) == "base.json:1:53"


@pytest.mark.parametrize(
    ("old", "new", "where", "code"),
    [
        ("[cluster.yaml]", "[clutser.yaml]", "fleet.yaml:5:16", "no-such-file"),
        ("[cluster.yaml]", "[../cluster.yaml]", "fleet.yaml:5:16", "path-outside"),
        ("[cluster.yaml]", "[cluster.yaml.age]", "fleet.yaml:5:16", "encrypted-settings"),
        ("path: /list/-", "path: /nolist/-", "fleet.yaml:14:37", "patch-path"),
        ("op: add", "op: test", "fleet.yaml:14:38", "patch-path"),
        ("[n-2, s-1]", "[n-2, s-9]", "fleet.yaml:12:22", "unknown-node"),
        ('["n-*"]', '["x-*"]', "fleet.yaml:8:17", "unknown-node"),
        ("merge: {level: node}", "merge: {a: '${env:A'}", "fleet.yaml:19:32", "bad-reference"),
        ("merge: {level: node}", "merge: {a: '${env:A-B}'}", "fleet.yaml:19:32", "bad-reference"),
        ("merge: {level: node}", "merge: {a: '${age:####}'}", "fleet.yaml:19:32", "bad-reference"),
        ("merge: {level: node}", "merge: {a: '${age:→ €}'}", "fleet.yaml:19:32", "bad-reference"),
        ("merge: {level: node}", "merge: {a: '${age:}'}", "fleet.yaml:19:32", "bad-reference"),
        ("merge: {level: node}", "merge: {a: '${file:../x}'}", "fleet.yaml:19:32", "bad-reference"),
    ],
)
def test_what_is_wrong_and_where(old, new, where, code):
    found = problems_of({**FILES, "fleet.yaml": FLEET.replace(old, new)})
    assert [(str(problem.position), problem.code) for problem in found] == [(where, code)]


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("${ENV:A}", "write ${env:A}"),
        ("x${Env:A}", "write ${env:A}"),
        ("${ env:A}", "write ${env:A}"),
        ("${evn:A}", "write ${env:A}"),
        ("${environment:A}", "write ${env:A}"),
        ("${ENV:s3cr3t!}", "write ${env:NAME}"),
        ("${File:/a}", "write ${file:PATH}"),
        ("${AGE:abc}", "write ${age:BASE64}"),
        ("${RECONCILE_SECRET_A}", "write ${env:RECONCILE_SECRET_A}"),
    ],
)
def test_what_was_meant_as_a_reference_is_not_sent_as_text(text, remedy):
    fleet = FLEET.replace("merge: {level: node}", f"merge: {{a: '{text}'}}")
    (problem,) = problems_of({**FILES, "fleet.yaml": fleet})
    assert (str(problem.position), problem.code) == ("fleet.yaml:19:32", "bad-reference")
    assert problem.remedy.startswith(remedy)
    assert "s3cr3t" not in str(problem)


@pytest.mark.parametrize("text", ["$${ENV:A}", "${remote_addr}", "${http:x}", "${page:1}", "${A}", "${env}"])
def test_other_texts_with_a_dollar_are_texts(text):
    fleet = FLEET.replace("merge: {level: node}", f"merge: {{a: '{text}'}}")
    assert problems_of({**FILES, "fleet.yaml": fleet}) == ()


def test_an_overlay_that_is_both_or_neither_is_refused():
    found = problems_of(
        {**FILES, "fleet.yaml": FLEET.replace("merge: {level: node}", "merge: {}, patch: []")}
    )
    assert len(found) == 1
    assert "merge" in found[0].message


def test_an_overlay_file_that_holds_one_value_is_refused():
    found = problems_of({**FILES, "cluster.yaml": "just-text\n"})
    assert [(str(problem.position), problem.code) for problem in found] == [
        ("cluster.yaml:1:1", "bad-overlay")
    ]


class _Vault:
    def resolve(self, scheme, name):
        if name == "GONE":
            raise SecretError("the environment variable GONE is not set", remedy="set GONE")
        return f"<{scheme} {name}>"

    def decrypt(self, name, data):
        if name.startswith("locked"):
            raise SecretError(f"{name} cannot be decrypted")
        return data.upper()


def test_references_become_secrets_whole_or_within_a_text_and_can_be_escaped():
    base = (
        '{"a": "${env:A}", "b": "x ${env:A} ${file:/f} y", "c": "$${env:A}",'
        ' "d": "${other:x}", "e": ["${env:GONE}"]}'
    )
    fleet = fleet_of(
        {**FILES, "base.json": base, "fleet.yaml": FLEET.replace(", path: /list/-", ", path: /e/-")}, _Vault()
    )
    value = fleet.cluster_inputs[0].documents["n-1"].value
    assert value["a"] == Secret("<env A>", "${env:A}")
    assert value["b"] == Secret("x <env A> <file /f> y", "x ${env:A} ${file:/f} y")
    assert value["c"] == "${env:A}"
    assert value["d"] == "${other:x}"
    assert value["e"][0].missing == "the environment variable GONE is not set; set GONE"
    assert value["e"][0].value == "${env:GONE}"


def test_without_a_resolver_nothing_is_resolved(monkeypatch):
    monkeypatch.setenv("A", "clear-text")
    value = (
        fleet_of({**FILES, "base.json": '{"a": "${env:A}", "list": []}'})
        .cluster_inputs[0]
        .documents["s-1"]
        .value
    )
    assert value["a"].value == "${env:A}"
    assert value["a"].missing


def test_encrypted_resources_lose_their_ending_and_missing_ones_are_named():
    text = FLEET.replace(
        "setting: base.json", "setting: base.json\n    resources: ['keys/*', locked.pem.age]"
    )
    files = {
        **FILES,
        "fleet.yaml": text,
        "keys/a.pem.age": "abc",
        "keys/b.txt": "plain",
        "locked.pem.age": "x",
    }
    cluster_input = fleet_of(files, _Vault()).cluster_inputs[0]
    assert cluster_input.resources == {"keys/a.pem": b"ABC", "keys/b.txt": b"plain"}
    assert cluster_input.missing == {"locked.pem": "locked.pem.age cannot be decrypted"}
    assert set(fleet_of(files).cluster_inputs[0].missing) == {"keys/a.pem", "locked.pem"}


def test_a_reference_elsewhere_in_the_fleet_file_is_refused():
    text = f'feedback: {{url: "http://u:${{env:A}}@127.0.0.1/"}}\n{FLEET}'
    found = problems_of({**FILES, "fleet.yaml": text})
    assert [(str(each.position), each.code) for each in found] == [("fleet.yaml:1:17", "misplaced-reference")]


def test_the_example_is_valid_and_its_overlays_apply():
    folder = Path(__file__).parents[3] / "examples/overlays"
    fleet = fleet_of({path.name: path.read_bytes() for path in folder.iterdir()})
    desired = DRIVER.desire(fleet.cluster_inputs[0])
    assert [note.code for note in desired.notes if note.code != "secret-unavailable"] == []
    documents = fleet.cluster_inputs[0].documents
    modes = {
        name: each.value["env"]["management"]["cluster"]["balance"]["mode"]
        for name, each in documents.items()
    }
    assert modes == {"edge-01": "hash", "edge-02": "rr", "edge-03": "rr", "edge-04": "rr"}
