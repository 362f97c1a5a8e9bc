"""What is wrong with a fleet file: every problem at once, each at its place, with a message and a remedy."""

import pytest
from support.fleet_files import get_problem, locate

from reconciler.desired.fleet_file import FleetFile

HEAD = "clusters:\n  - name: hall\n    kind: lamp\n"
NODE = "    nodes: [{name: l1, address: 'h:1'}]\n"


def one(extra, files=()):
    return {"fleet.yaml": HEAD + extra + NODE, **dict(files)}


def test_all_problems_of_all_files_at_once():
    text = """\
version: comit
feedbak: 1
clusters:
  - name: hall
    kind: lamp
    settings: hall.json
    setting: hal.json
    resources: [certs/*.pem, ../x, 5]
    concurrency: 5000
    timeouts: {connect: fast}
    nodes:
      - {name: l1, address: 1}
      - {name: l2, address: "h:1"}
      - {name: l2, address: "h:2"}
      - {nam: l3, address: "h:3"}
      - {name: l4, address: "http://H:1/", setting: bad.json}
  - name: hall
    kind: lam
  - {kind: lamp, name: a b, nodes: []}
  - 5
"""
    files = {"fleet.yaml": text, "hall.json": "{}", "bad.json": "{,\n"}
    assert locate(files) == [
        ("fleet.yaml:1:10", "/version", "unknown-value"),
        ("fleet.yaml:2:1", "/feedbak", "unknown-key"),
        ("fleet.yaml:6:5", "/clusters/0/settings", "unknown-key"),
        ("fleet.yaml:7:14", "/clusters/0/setting", "no-such-file"),
        ("fleet.yaml:8:17", "/clusters/0/resources/0", "no-such-file"),
        ("fleet.yaml:8:30", "/clusters/0/resources/1", "path-outside"),
        ("fleet.yaml:8:36", "/clusters/0/resources/2", "wrong-type"),
        ("fleet.yaml:9:18", "/clusters/0/concurrency", "out-of-range"),
        ("fleet.yaml:10:25", "/clusters/0/timeouts/connect", "wrong-type"),
        ("fleet.yaml:12:29", "/clusters/0/nodes/0/address", "wrong-type"),
        ("fleet.yaml:14:16", "/clusters/0/nodes/2/name", "duplicate-node"),
        ("fleet.yaml:15:10", "/clusters/0/nodes/3/nam", "unknown-key"),
        ("fleet.yaml:16:9", "/clusters/0/nodes/4", "duplicate-node"),
        ("fleet.yaml:17:11", "/clusters/1/name", "duplicate-cluster"),
        ("fleet.yaml:18:11", "/clusters/1/kind", "unknown-kind"),
        ("fleet.yaml:19:24", "/clusters/2/name", "wrong-form"),
        ("fleet.yaml:19:36", "/clusters/2/nodes", "out-of-range"),
        ("fleet.yaml:20:5", "/clusters/3", "wrong-type"),
        ("bad.json:1:2", "", "extra-comma"),
    ]


TOP = FleetFile.model_fields.items()

WORDS = {
    "unknown key": (
        one("    concurency: 3\n"),
        "`concurency` is not a known key",
        "did you mean `concurrency`?",
    ),
    "key unlike any": (
        {"fleet.yaml": "zzz: 1\nclusters: [{name: a, kind: bell}]"},
        "`zzz` is not a known key",
        f"the known keys are {', '.join(sorted(field.alias or name for name, field in TOP))}",
    ),
    "missing key": (
        {"fleet.yaml": HEAD + "    nodes: [{name: l1}]"},
        "`address` is missing",
        '`address`: where the lamp answers, such as `"127.0.0.1:1"`',
    ),
    "number for text": (one("    setting: 12\n"), "`setting` must be text, got `12`", 'write `"12"`'),
    "text for a number": (
        one("    concurrency: many\n"),
        "`concurrency` must be a whole number, got the text `many`",
        "`concurrency`: how many nodes of the cluster may be changed at the same time",
    ),
    "too small": (
        one("    concurrency: 0\n"),
        "`concurrency` must be at least 1, got `0`",
        "`concurrency`: how many nodes of the cluster may be changed at the same time",
    ),
    "one of a few": (
        one("    deliver: uplaod\n"),
        "`deliver` must be `upload` or `checkout`, got `uplaod`",
        "did you mean `upload`?",
    ),
    "nothing": (one("    deliver:\n"), "`deliver` must be `upload` or `checkout`, got no value", ""),
    "mapping for text": (
        one("    setting: {a: 1}\n"),
        "`setting` must be text, got a mapping",
        "`setting`: settings file of the lamps",
    ),
    "item of a list": (
        one("    resources: [[]]\n"),
        "item 1 of `resources` must be text, got an empty list",
        "",
    ),
    "union": (
        {"fleet.yaml": "clusters: [{name: a, kind: bell, nodes: [{name: b, api: c, pitch: []}]}]"},
        "`pitch` must be a whole number or text, got an empty list",
        "",
    ),
    "date": (
        {
            "fleet.yaml": "overrides: [{guard: g, until: soon, reason: long enough}]\n"
            "clusters: [{name: a, kind: bell}]"
        },
        "`until` must be a date such as 2026-12-01, got the text `soon`",
        "`until`: last day on which it applies, as YYYY-MM-DD",
    ),
    "short text": (
        {
            "fleet.yaml": "overrides: [{guard: g, until: 2026-12-01, reason: so}]\n"
            "clusters: [{name: a, kind: bell}]"
        },
        "`reason` must have at least 8 characters, got `so`",
        "`reason`: why, for later readers",
    ),
    "form, and no password shown": (
        {"fleet.yaml": "feedback: {url: 'ftp://me:secret@h/'}\nclusters: [{name: a, kind: bell}]"},
        "`url` must have the form `^https?://`, got `ftp://…@h/`",
        "`url`: each message is sent here as JSON by POST",
    ),
    "policy of a cluster": (
        one("    policy: {max_chnged: 50%}\n"),
        "`max_chnged` is not a known key",
        "did you mean `max_changed`?",
    ),
    "missing kind": (
        {"fleet.yaml": "clusters: [{name: a}]"},
        "`kind` is missing",
        "set it to the product of its nodes: one of `bell`, `lamp`",
    ),
    "unknown kind": (
        {"fleet.yaml": "clusters: [{name: a, kind: lapm}]"},
        "`lapm` is not a known cluster kind",
        "did you mean `lamp`? The kinds are `bell`, `lamp`",
    ),
    "kind that is no text": (
        {"fleet.yaml": "clusters: [{name: a, kind: [7]}]"},
        "`kind` must be text, got a list",
        "the kinds are `bell`, `lamp`",
    ),
    "no clusters": (
        {"fleet.yaml": "clusters: []"},
        "the list of clusters is empty",
        "add at least one cluster, with `name`, `kind` and `nodes`",
    ),
    "not even a list": (
        {"fleet.yaml": "clusters: {a: 1}"},
        "`clusters` must be a list, got a mapping",
        "`clusters`: the clusters, at least one",
    ),
    "clusters missing": (
        {"fleet.yaml": "version: commit"},
        "`clusters` is missing",
        "`clusters`: the clusters, at least one",
    ),
    "a list as the whole": ({"fleet.yaml": "[]"}, "this must be a mapping, got an empty list", ""),
    "missing file": (
        one("    setting: hal.json\n", {"hall.json": "{}", "x/hall.json": "{}"}),
        "the file `hal.json` does not exist",
        "did you mean `hall.json`?",
    ),
    "missing file in an empty place": (
        one("    setting: conf/s.json\n", {"certs/a.pem": ""}),
        "the file `conf/s.json` does not exist",
        "the folder `conf` does not exist",
    ),
    "folder": (
        one("    setting: conf\n", {"conf/s.json": "{}"}),
        "`conf` is a folder",
        "name the file in it, such as `conf/s.json`",
    ),
    "pattern that fits nothing": (
        one("    resources: [certs/*.pem]\n", {"certs/a.crt": ""}),
        "no file matches `certs/*.pem`",
        "the folder `certs` contains certs/a.crt",
    ),
    "pattern in a folder that is not there": (
        one("    resources: [cert/*.pem]\n", {"certs/a.pem": ""}),
        "no file matches `cert/*.pem`",
        "the folder `cert` does not exist, did you mean `certs`?",
    ),
}


@pytest.mark.parametrize(("files", "message", "remedy"), WORDS.values(), ids=WORDS.keys())
def test_one_mistake_is_one_problem(files, message, remedy):
    assert get_problem(files) == (message, remedy)


@pytest.mark.parametrize(
    "path",
    ["../s.json", "a/../../s.json", "/etc/s.json", "~/s.json", "C:/s.json", "conf\\s.json", "a/../s.json"],
)
@pytest.mark.parametrize("key", ["setting", "resources"])
def test_paths_that_leave_the_folder_are_refused_at_their_place(path, key):
    given = f"'{path}'" if key == "setting" else f"['{path}']"
    place = "/clusters/0/setting" if key == "setting" else "/clusters/0/resources/0"
    column = 14 if key == "setting" else 17
    files = one(f"    {key}: {given}\n", {"s.json": "{}"})
    assert locate(files) == [(f"fleet.yaml:4:{column}", place, "path-outside")]


def test_a_missing_file_is_reported_once_where_it_is_named():
    text = HEAD + (
        "    setting: none.json\n    nodes:\n"
        "      - {name: l1, address: a}\n      - {name: l2, address: b}\n"
        "      - {name: l3, address: c, setting: other.json}\n"
        "      - {name: l4, address: d, setting: none.json}\n"
    )
    assert locate({"fleet.yaml": text}) == [
        ("fleet.yaml:4:14", "/clusters/0/setting", "no-such-file"),
        ("fleet.yaml:8:41", "/clusters/0/nodes/2/setting", "no-such-file"),
        ("fleet.yaml:9:41", "/clusters/0/nodes/3/setting", "no-such-file"),
    ]


def test_a_broken_settings_file_is_reported_once_for_all_its_nodes():
    text = (
        HEAD
        + "    setting: s.json\n"
        + "    nodes: [{name: l1, address: a}, {name: l2, address: b, setting: ./s.json}]\n"
    )
    assert locate({"fleet.yaml": text, "s.json": '{"a": 1,}'}) == [("s.json:1:8", "", "trailing-comma")]


@pytest.mark.parametrize(
    ("second", "place"),
    [
        ("  - {name: b, kind: lamp, nodes: [{name: l1, address: other}]}\n", "fleet.yaml:5:42"),
        ("  - {name: b, kind: lamp, nodes: [{name: l9, address: 'h:1'}]}\n", "fleet.yaml:5:35"),
        ("  - {name: b, kind: bell, nodes: [{name: l1, api: other}]}\n", "fleet.yaml:5:42"),
        ("  - {name: b, kind: bell, nodes: [{name: l9, api: 'http://H:1/'}]}\n", "fleet.yaml:5:35"),
    ],
)
def test_a_node_in_two_clusters_names_both_places(second, place):
    files = {"fleet.yaml": HEAD + NODE + second}
    assert [(where, code) for where, _, code in locate(files)] == [(place, "duplicate-node")]
    message, _ = get_problem(files)
    assert message.endswith(" `l1` (cluster `hall`, fleet.yaml:4:13)")


def test_a_history_goes_to_one_cluster_whose_former_name_is_free():
    node = '{{name: n{}, address: "h:{}"}}'
    entry = f"  - {{{{name: {{}}, renamed_from: {{}}, kind: lamp, setting: s.json, nodes: [{node}]}}}}\n"
    pairs = [("a", "b"), ("b", "z"), ("c", "c"), ("d", "z"), ("e", "y")]
    clusters = "".join(entry.format(name, former, at, at) for at, (name, former) in enumerate(pairs, 1))
    found = locate({"fleet.yaml": f"clusters:\n{clusters}", "s.json": "{}"})
    wrong = [pointer for _, pointer, code in found if code == "wrong-rename"]
    assert wrong == [f"/clusters/{index}/renamed_from" for index in (0, 2, 3)]


@pytest.mark.parametrize(
    ("after", "pointer", "words"),
    [
        (("[a]", "[]", "[]"), "/clusters/0/after/0", "`a` cannot wait for itself"),
        (("[]", "[a, hal]", "[]"), "/clusters/1/after/1", "`hal` is not a cluster of this file"),
        (
            ("[b]", "[c]", "[a]"),
            "/clusters/0/after/0",
            "clusters wait for each other: `a` after `b` after `c` after `a`",
        ),
    ],
)
def test_an_order_between_clusters_names_others_and_has_no_circle(after, pointer, words):
    def make(order):
        node = "nodes: [{{name: n{}, address: 'h:{}'}}]"
        entry = f"  - {{{{name: {{}}, after: {{}}, kind: lamp, setting: s.json, {node}}}}}\n"
        clusters = "".join(
            entry.format(name, own, at, at)
            for at, (name, own) in enumerate(zip("abc", order, strict=True), 1)
        )
        return {"fleet.yaml": f"clusters:\n{clusters}", "s.json": "{}"}

    assert [code for _, _, code in locate(make(("[b, c]", "[c]", "[]"))) if code == "wrong-order"] == []
    assert [(place, code) for _, place, code in locate(make(after))] == [(pointer, "wrong-order")]
    assert words in get_problem(make(after))[0]


def test_a_node_that_is_wrong_does_not_hide_what_is_wrong_with_others():
    text = (
        HEAD
        + "    nodes:\n      - {address: 5, setting: 6}\n      - {name: l2, address: a, setting: gone.json}\n"
    )
    assert locate({"fleet.yaml": text}) == [
        ("fleet.yaml:5:9", "/clusters/0/nodes/0/name", "missing-key"),
        ("fleet.yaml:5:19", "/clusters/0/nodes/0/address", "wrong-type"),
        ("fleet.yaml:5:31", "/clusters/0/nodes/0/setting", "wrong-type"),
        ("fleet.yaml:6:41", "/clusters/0/nodes/1/setting", "no-such-file"),
    ]


def test_a_broken_fleet_file_is_reported_with_all_its_problems():
    assert locate({"fleet.json": '{"clusters": [1 2],}'}) == [
        ("fleet.json:1:16", "/clusters", "missing-comma"),
        ("fleet.json:1:19", "", "trailing-comma"),
    ]
