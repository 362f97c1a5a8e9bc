"""The fleet that files describe: how it is found, what it holds, and that nothing is read twice."""

import json

import pytest
from support.fleet_files import (
    DRIVERS,
    REVISION,
    BellDriver,
    LampDriver,
    Memory,
    fleet,
    get_problem,
    locate,
)

from reconciler.errors import InputError

FLEET = """\
$schema: https://example.com/fleet.json
version: commit
feedback: {url: "http://127.0.0.1:9/feedback"}
policy: {max_changed: 50%, max_shrink: "3"}
overrides:
  - {guard: blast-radius, target: hall/l1, until: 2026-12-01, reason: moving house}
clusters:
  - name: hall
    kind: lamp
    setting: hall.json
    resources: [certs/*.pem, certs/readme.txt]
    nodes:
      - {name: l1, address: "h:1"}
      - {name: l2, address: "h:2"}
      - {name: l3, address: "h:3", setting: ./own.yaml}
  - name: yard
    kind: lamp
    setting: own.yaml
    policy: {max_changed: "1"}
    nodes: [{name: l4, address: "h:4"}]
  - name: tower
    kind: bell
    nodes: [{name: b1, api: "http://h:5/"}]
"""
FILES = {
    "fleet.yaml": FLEET,
    "hall.json": '{"hall": 1}',
    "own.yaml": "own: 2\n",
    "certs/a.pem": b"\x00a",
    "certs/b.pem": "b",
    "certs/readme.txt": "r",
    "notes.json": "{broken",
}


def test_clusters_in_the_file_s_order_with_their_places():
    found = fleet(FILES)
    assert [
        (cluster_input.entry.name, cluster_input.entry.kind, cluster_input.pointer)
        for cluster_input in found.cluster_inputs
    ] == [
        ("hall", "lamp", "/clusters/0"),
        ("yard", "lamp", "/clusters/1"),
        ("tower", "bell", "/clusters/2"),
    ]
    assert all(
        cluster_input.fleet is found.document and cluster_input.revision is REVISION
        for cluster_input in found.cluster_inputs
    )
    assert str(found.document.position("/clusters/2/nodes/0/api")) == "fleet.yaml:23:29"
    assert found.revision is REVISION


def test_nodes_with_the_same_settings_share_one_document_across_clusters():
    hall, yard, tower = fleet(FILES).cluster_inputs
    assert hall.documents["l1"] is hall.documents["l2"]
    assert hall.documents["l1"].value == {"hall": 1}
    assert hall.documents["l3"] is yard.documents["l4"]
    assert yard.documents["l4"].value == {"own": 2}
    assert tower.documents == {}


def test_resources_by_path_with_their_bytes():
    hall, yard, _ = fleet(FILES).cluster_inputs
    assert hall.resources == {"certs/a.pem": b"\x00a", "certs/b.pem": b"b", "certs/readme.txt": b"r"}
    assert yard.resources == {}


def test_each_file_is_read_once_and_only_if_it_is_named():
    memory = Memory(FILES)
    fleet(memory)
    assert sorted(memory.reads) == sorted(set(FILES) - {"notes.json"})


def test_the_top_level_is_the_default_of_clusters_that_know_the_field():
    files = {
        **FILES,
        "fleet.yaml": FLEET.replace("setting: hall.json", "setting: hall.json\n    version: null"),
    }
    hall, yard, tower = fleet(files).cluster_inputs
    assert (hall.entry.version, yard.entry.version) == (None, "commit")
    assert not hasattr(tower.entry, "version")


def test_feedback_overrides_and_policies():
    found = fleet(FILES)
    assert found.feedback.url == "http://127.0.0.1:9/feedback"
    assert [(each.guard, each.target, str(each.until)) for each in found.overrides] == [
        ("blast-radius", "hall/l1", "2026-12-01")
    ]
    assert (found.policy("hall").max_changed, found.policy("hall").max_shrink) == ("50%", "3")
    assert (found.policy("yard").max_changed, found.policy("yard").max_shrink) == ("1", "3")
    assert found.warnings == ()


def test_an_override_for_a_cluster_that_is_not_there_is_a_warning():
    found = fleet({**FILES, "fleet.yaml": FLEET.replace("target: hall/l1", "target: hal/l1")})
    (warning,) = found.warnings
    assert (str(warning.position), warning.code, warning.remedy) == (
        "fleet.yaml:6:35",
        "unknown-target",
        "did you mean `hall`?",
    )


@pytest.mark.parametrize(
    ("written", "remedy"),
    [
        ("blast-radios", "did you mean `blast-radius`?"),
        ("gate-failed", None),
        ("zzzz", None),
        ("blast-radius", ""),
        ("quorum", ""),
        ("outside-window", ""),
    ],
)
def test_an_override_of_a_guard_that_is_not_there_is_a_warning(written, remedy):
    """What is no refusal cannot be set aside, though it has a code and a page."""
    found = fleet({**FILES, "fleet.yaml": FLEET.replace("guard: blast-radius", f"guard: {written}")})
    warned = [(str(one.position), one.code) for one in found.warnings]
    assert warned == ([] if remedy == "" else [("fleet.yaml:6:13", "unknown-guard")])
    if remedy:
        assert found.warnings[0].remedy == remedy


def test_an_override_for_a_cluster_that_is_gone_may_name_it():
    gone = FLEET.replace("guard: blast-radius, target: hall/l1", "guard: cluster-vanished, target: attic")
    assert fleet({**FILES, "fleet.yaml": gone}).warnings == ()


@pytest.mark.parametrize("name", ["fleet.yaml", "fleet.yml", "fleet.json"])
def test_the_three_names_of_the_fleet_file(name):
    value = {"clusters": [{"name": "a", "kind": "bell", "nodes": [{"name": "b", "api": "c"}]}]}
    assert fleet({name: json.dumps(value)}).document.name == name


def test_a_lone_settings_file_is_a_fleet_of_one_cluster():
    found = fleet({"lamp.json": '{"lamps": ["h:1", "h:2"]}', "other.txt": ""})
    (cluster_input,) = found.cluster_inputs
    assert (cluster_input.entry.name, cluster_input.entry.kind, cluster_input.pointer) == (
        "lamps",
        "lamp",
        "",
    )
    assert cluster_input.fleet is found.document
    assert [document is found.document for document in cluster_input.documents.values()] == [True, True]
    assert list(cluster_input.documents) == ["l0", "l1"]


def test_a_fleet_file_comes_before_a_lone_settings_file():
    files = {"fleet.yaml": "clusters: [{name: a, kind: bell}]", "lamp.json": "{broken"}
    assert [cluster_input.entry.kind for cluster_input in fleet(files).cluster_inputs] == ["bell"]


def test_the_product_reports_what_a_lone_settings_file_lacks():
    assert locate({"lamp.json": "{}"}) == [("lamp.json:1:1", "", "no-lamps")]


def test_a_problem_of_the_cluster_of_a_lone_file_has_no_pointer():
    assert locate({"lamp.json": '\n{"lamps": []}'}) == [("lamp.json:2:1", "", "out-of-range")]
    assert locate({"lamp.json": '\n{"lamps": ["h", "h"]}'}) == [("lamp.json:2:1", "", "duplicate-node")]


@pytest.mark.parametrize(
    ("names", "message", "remedy"),
    [
        (["README.md"], "no fleet.yaml found, and none of fleet.yml, fleet.json, lamp.json",
         "write a fleet.yaml with `clusters:`, each with `name`, `kind` and `nodes`"),
        (["prod/eu/fleet.yaml"], "no fleet.yaml found, and none of fleet.yml, fleet.json, lamp.json",
         "to use `prod/eu/fleet.yaml`, give `--path prod/eu`"),
        (["fleet.yaml", "fleet.json"], "there is more than one fleet file: fleet.yaml, fleet.json",
         "keep one of them"),
    ],
)  # fmt: skip
def test_without_one_fleet_file_the_error_has_a_remedy(names, message, remedy):
    assert get_problem(dict.fromkeys(names, "")) == (message, remedy)


def test_a_lone_file_of_two_products_is_refused():
    class Other(BellDriver):
        lone_file = "lamp.json"

    message, _ = get_problem({"lamp.json": "{}"}, {"lamp": LampDriver(), "bell": Other()})
    assert message == "lamp.json without a fleet file can be of several kinds: bell and lamp"


def test_products_are_not_loaded_that_the_fleet_file_does_not_name():
    class Lazy(dict):
        def __missing__(self, kind):
            raise AssertionError(kind)

    override = "{guard: quorum, target: a, until: 2099-01-01, reason: it is known}"
    text = f"clusters: [{{name: a, kind: bell}}]\noverrides: [{override}]"
    assert fleet({"fleet.yaml": text}, Lazy(bell=DRIVERS["bell"], lamp=None)).warnings == ()


def test_a_file_that_is_removed_while_it_is_read_is_reported():
    class Vanishing(Memory):
        def read(self, path):
            if path == self.gone:
                raise FileNotFoundError(path)
            return super().read(path)

    files = Vanishing(FILES)
    for files.gone in ("hall.json", "certs/a.pem", "fleet.yaml"):
        with pytest.raises(InputError) as raised:
            fleet(files)
        assert [(str(each.position), each.code) for each in raised.value.problems] == [
            (files.gone, "file-vanished")
        ]


def test_ten_thousand_nodes_make_one_document_and_one_entry():
    lines = "".join(f"      - {{name: l{n}, address: 'h:{n}'}}\n" for n in range(10_000))
    text = f"clusters:\n  - name: big\n    kind: lamp\n    setting: s.json\n    nodes:\n{lines}"
    memory = Memory({"fleet.yaml": text, "s.json": "{}"})
    (cluster_input,) = fleet(memory).cluster_inputs
    assert len(cluster_input.documents) == 10_000
    assert len({id(document) for document in cluster_input.documents.values()}) == 1
    assert sorted(memory.reads) == ["fleet.yaml", "s.json"]
