"""Which clusters a revision changes: all that a pass takes from the files counts, nothing of the others."""

import json
from dataclasses import fields, replace
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.memory_files import snapshot_of

from reconciler.core.bus_channels import BusChannel, BusKind
from reconciler.core.plan import Revision
from reconciler.core.secret import Secret
from reconciler.core.unmanaged import UnmanagedField
from reconciler.desired.fleet import Fleet, add_desired_state, load_fleet
from reconciler.desired.fleet_file import FleetFile
from reconciler.desired.input_digests import NOT_CONTENT, compute_input_digests
from reconciler.drivers.registry import DRIVERS
from reconciler.ports.cluster_input import ClusterInput, NamedChannel
from reconciler.ports.inventory import UnreadInventory

NAMES = ("edge", "lab", "live")


def make_files():
    """Three clusters, of which `live` waits for `lab`, and each thing that files may be for."""
    address = iter(range(1, 20))
    clusters = [
        {
            "name": name,
            "kind": "m2",
            "setting": f"{name}.json",
            "overlays": [f"{name}.overlay.json"],
            "resources": [f"certs/{name}.pem"],
            "nodes": [{"name": f"{name}-{n}", "address": f"192.0.2.{next(address)}:1"} for n in (1, 2)],
        }
        for name in NAMES
    ]
    clusters[2]["after"] = ["lab"]
    fleet = {
        "schemas": [{"files": "*.json", "schema": "schemas/a.schema.json"}],
        "management": ["192.0.2.77"],
        "clusters": clusters,
    }
    schema = {"type": "object", "properties": {"meta": {"$ref": "b.schema.json"}}}
    files = {
        "fleet.yaml": fleet,
        "schemas/a.schema.json": schema,
        "schemas/b.schema.json": {"type": "object"},
    }
    for name in NAMES:
        files[f"{name}.json"] = {"meta": {"title": name}}
        files[f"{name}.overlay.json"] = {"meta": {"note": name}}
        files[f"certs/{name}.pem"] = "a certificate"
    return files


def read(files):
    texts = {name: one if isinstance(one, str) else json.dumps(one, indent=1) for name, one in files.items()}
    return add_desired_state(load_fleet(snapshot_of(texts), DRIVERS), DRIVERS)


def compute(fleet):
    return compute_input_digests(fleet, DRIVERS)


def find_changed(before, after):
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


BEFORE = compute(read(make_files()))


def test_every_cluster_has_a_digest_of_its_own():
    assert sorted(BEFORE) == list(NAMES)
    assert len(set(BEFORE.values())) == 3
    assert compute(read(make_files())) == BEFORE


@pytest.mark.parametrize("name", [*FleetFile.model_fields])
def test_each_key_of_the_fleet_file_counts_for_every_cluster_but_the_clusters_of_others(name):
    key = FleetFile.model_fields[name].alias or name
    found = read(make_files())
    value = {**found.document.value, key: "another"}
    if key == "clusters":
        value["clusters"] = [*found.document.value["clusters"]]
        value["clusters"][0] = {**value["clusters"][0], "note": "another"}
    document = SimpleNamespace(name="fleet.yaml", value=value)
    inputs = tuple(replace(one, fleet=document) for one in found.cluster_inputs)
    other = replace(found, document=document, cluster_inputs=inputs)
    assert find_changed(BEFORE, compute(other)) == (["edge"] if key == "clusters" else [*NAMES])


@pytest.mark.parametrize("kind", sorted(DRIVERS))
def test_each_key_of_an_entry_counts_for_its_cluster_and_for_those_that_wait_for_it(kind):
    found = read(make_files())
    for name, model in DRIVERS[kind].entry.model_fields.items():
        for index, changed in ((0, ["edge"]), (1, ["lab", "live"])):
            entries = [*found.document.value["clusters"]]
            entries[index] = {**entries[index], model.alias or name: ["another"]}
            document = SimpleNamespace(name="fleet.yaml", value={**found.document.value, "clusters": entries})
            inputs = tuple(replace(one, fleet=document) for one in found.cluster_inputs)
            other = replace(found, document=document, cluster_inputs=inputs)
            assert find_changed(BEFORE, compute(other)) == changed, name


OTHER_INPUTS = {
    "documents": lambda one: {**one.documents, "edge-1": SimpleNamespace(name="x.json", value={"a": 1})},
    "resources": lambda one: {"certs/edge.pem": b"another certificate"},
    "missing": lambda one: {"certs/edge.pem": "no identity"},
    "encrypted": lambda one: {"certs/edge.pem": "0" * 64},
    "unmanaged": lambda one: {"edge-1": (UnmanagedField("/hosting/*", "/clusters/0/unmanaged/0"),)},
    "inventory": lambda one: {"edge-1": SimpleNamespace(query="vm:i-1", instance="i-1")},
    "unread": lambda one: UnreadInventory("the cloud does not answer"),
}


def test_each_field_of_a_cluster_input_counts():
    """A new field has to be named here, or among those that are not content."""
    assert {one.name for one in fields(ClusterInput)} == OTHER_INPUTS.keys() | NOT_CONTENT
    found = read(make_files())
    for name, make in OTHER_INPUTS.items():
        first, *rest = found.cluster_inputs
        other = replace(found, cluster_inputs=(replace(first, **{name: make(first)}), *rest))
        assert find_changed(BEFORE, compute(other)) == ["edge"], name


DERIVED = {"cluster_inputs", "document", "revision", "schema_files"}
"""Fields of a fleet that the digests read."""
FROM_THE_FILE = {
    *("feedback", "overrides", "policies", "change_rules_by_cluster", "desired", "name", "renamed_from"),
    *("expiry_warning", "inventory", "secrets", "warnings", "input_digests"),
}
"""Those that are made of the fleet file, of the inputs of clusters, or by the digests themselves."""


def test_each_field_of_a_fleet_is_counted_or_made_of_what_is():
    assert {one.name for one in fields(Fleet)} == DERIVED | FROM_THE_FILE


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_whatever_changes_in_a_file_changes_the_clusters_that_use_it_and_no_other(data):
    files = make_files()
    name = data.draw(st.sampled_from([one for one in files if one != "fleet.yaml"]))
    text = data.draw(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=20))
    if isinstance(files[name], str):
        files[name] += text
    elif name.startswith("schemas/"):
        files[name]["description"] = text
    else:
        files[name]["meta"]["another"] = text
    users = {"edge": ["edge"], "lab": ["lab", "live"], "live": ["live"]}
    owner = next((one for one in NAMES if one in name), "")
    assert find_changed(BEFORE, compute(read(files))) == (users[owner] if owner else [*NAMES])


def test_lines_that_move_and_other_words_for_the_same_change_nothing():
    files = make_files()
    entries = files["fleet.yaml"]["clusters"]
    entries[0]["nodes"].append({"name": "edge-3", "address": "192.0.2.200:1"})
    files["edge.json"]["more"] = {"lines": [1, 2, 3]}
    entries.reverse()
    assert find_changed(BEFORE, compute(read(files))) == ["edge"]


def test_a_cluster_that_comes_or_goes_concerns_every_other_one():
    files = make_files()
    files["fleet.yaml"]["clusters"].pop(0)
    assert find_changed(BEFORE, compute(read(files))) == [*NAMES], "each pass says that it has vanished"


def test_a_node_of_another_cluster_that_listens_on_the_same_channel_counts():
    found, feeds = read(make_files()), {"edge": "offers", "lab": "others", "live": "third"}

    def list_channels(one):
        channel = BusChannel(BusKind.KAFKA, ("192.0.2.99:9092",), feeds[one.entry.name])
        return [NamedChannel(f"{one.entry.name}-1", channel, True, None, "", "")]

    drivers = {"m2": SimpleNamespace(list_bus_channels=list_channels)}
    before = compute_input_digests(found, drivers)
    feeds["live"] = "offers"
    assert find_changed(before, compute_input_digests(found, drivers)) == ["edge", "live"]


def test_a_commit_changes_those_that_have_its_id_in_their_settings_and_a_signature_of_another_kind_all():
    files = make_files()
    files["fleet.yaml"]["clusters"][0]["version"] = "commit"
    found = read(files)
    before = compute(found)

    def compute_at(revision):
        inputs = tuple(replace(one, revision=revision) for one in found.cluster_inputs)
        return compute(replace(found, revision=revision, cluster_inputs=inputs))

    other = Revision("memory", "1" * 40, "1111111", "another title", signer="kim")
    assert find_changed(before, compute_at(other)) == ["edge"]
    assert find_changed(before, compute_at(replace(found.revision, signed="ssh"))) == [*NAMES]


def test_another_value_of_a_secret_counts_and_numbers_of_any_size_do():
    found = read(make_files())

    def compute_with(value):
        first, *rest = found.cluster_inputs
        document = SimpleNamespace(name="edge.json", value={"password": Secret(value, "${env:A}")})
        documents = dict.fromkeys(first.documents, document)
        return compute(replace(found, cluster_inputs=(replace(first, documents=documents), *rest)))

    for one, two in (("a", "b"), (10**30, 10**30 + 1), ("\ud800", "\ud801")):
        assert find_changed(compute_with(one), compute_with(two)) == ["edge"]
