"""`reconcile validate` by the entry point: everything of all files at once, in each form, with its status."""

import copy
import json
import re
import socket
from pathlib import Path
from urllib.parse import unquote

import jsonschema
import pytest
from support.commands import write_files

from reconciler import __version__
from reconciler.cli.demo_fixtures import find_examples
from reconciler.cli.explanations import read_page, read_title
from reconciler.cli.main import main

GOOD = {
    "env": {
        "management": {
            "api": {"allowList": [{"addr": "10.0.0.9", "role": "admin"}]},
            "roles": [{"name": "admin", "permissions": {"enableSetting": True}}],
        }
    }
}
FLEET = """\
version: comit
clusters:
  - name: edge
    kind: m2
    seting: edge/setting.json
    setting: edge/setting.json
    nodes:
      - {name: e1, address: "127.0.0.1:99999"}
      - {name: e2, address: "127.0.0.1:9", setting: edge/b.json}
  - name: over
    kind: m2
    setting: edge/good.json
    overlays: [edge/over.yaml]
    nodes: [{name: e3, address: "127.0.0.1:10"}]
  - name: live
    kind: sora
    nodes: [{name: a@a.example.com, api: "http://127.0.0.2:3000"}, {name: a@a.example.com, api: "http://127.0.0.3:3000"}]
"""
BROKEN = """\
{
  "meta": {"version": 1},
  "env": {"management": {
    "api": {"port": 10040; "allowList": [{"addr": "1.2.3.4",}]}
    "roles": [] // none
  }},
  "meta": 2
}
"""
MISTAKEN = json.dumps(
    {"env": {"management": {"api": {"port": "x", "allowList": [{"addr": "1.2.3", "role": "amdin"}]}}}},
    indent=1,
)
OVER = """\
env:
  management:
    api:
      port: 70000
"""
ALL = {
    "fleet.yaml": FLEET,
    "edge/setting.json": BROKEN,
    "edge/b.json": MISTAKEN,
    "edge/good.json": json.dumps(GOOD),
    "edge/over.yaml": OVER,
}
FOUND = [
    ("fleet.yaml", 1, 10, "/version", "unknown-value"),
    ("fleet.yaml", 5, 5, "/clusters/0/seting", "unknown-key"),
    ("fleet.yaml", 8, 29, "/clusters/0/nodes/0/address", "bad-address"),
    ("fleet.yaml", 17, 75, "/clusters/2/nodes/1/name", "duplicate-node"),
    ("edge/b.json", 5, 13, "/env/management/api/port", "wrong-type"),
    ("edge/b.json", 8, 15, "/env/management/api/allowList/0/addr", "bad-address"),
    ("edge/b.json", 9, 15, "/env/management/api/allowList/0/role", "unknown-role"),
    ("edge/over.yaml", 4, 13, "/env/management/api/port", "out-of-range"),
    ("edge/setting.json", 4, 26, "/env/management/api", "semicolon"),
    ("edge/setting.json", 4, 60, "/env/management/api/allowList/0", "trailing-comma"),
    ("edge/setting.json", 4, 64, "/env/management", "missing-comma"),
    ("edge/setting.json", 5, 17, "/env/management", "comment"),
    ("edge/setting.json", 7, 3, "/meta", "duplicate-key"),
]


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Nobody is asked anything."""

    def refuse(*words):
        raise AssertionError("a connection was made")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def output(*arguments, files=ALL, below="."):
        write_files(folder / below, files)
        status = main(["validate", *arguments, *([] if below == "." else [below])])
        out, error = capsys.readouterr()
        assert error == ""
        return status, out

    return output


def errors(listed):
    keys = ("file", "line", "column", "pointer", "code")
    return [tuple(each[key] for key in keys) for each in listed if each["severity"] == "error"]


def test_json_lists_everything_of_all_files_at_its_place(run):
    status, out = run("--format", "json")
    assert status == 1
    listed = json.loads(out)
    assert errors(listed) == FOUND
    wanted = {"file", "line", "column", "pointer", "severity", "code", "message"}
    further = {"duplicate-key", "duplicate-node", "unclosed"}
    speaks_of_two = [each for each in listed if "related" in each]
    assert {each["code"] for each in speaks_of_two} <= further
    assert {frozenset(each) - {"related"} for each in listed} == {frozenset(wanted)}
    (role,) = (each for each in listed if each["code"] == "unknown-role")
    assert role["message"] == 'the role "amdin" is not defined; did you mean "admin"?'


def test_text_shows_position_pointer_and_remedy_and_ends_with_a_summary(run):
    status, out = run()
    assert status == 1
    assert "edge/setting.json:4:26: error: expected `,`, got `;` [semicolon]\n" in out
    assert '  at /env/management/api/allowList/0/role\n  → did you mean "admin"?\n' in out
    assert re.search(r"\n13 errors and \d+ warnings? in 4 files\. `reconcile explain CODE` explains", out)


def test_github_commands_have_paths_from_the_top_of_the_repository(run):
    status, out = run("--format", "github", below="fleet, 100%")
    assert status == 1
    assert out.startswith(
        "::error file=fleet%2C 100%25/fleet.yaml,line=1,col=10,title=unknown-value::`version`"
    )
    assert len(re.findall("^::error ", out, re.MULTILINE)) == len(FOUND)
    assert [line for line in out.splitlines()[:-1] if line.count("::") < 2] == []


STRUCTURE = {
    "type": "object",
    "required": ["version", "runs"],
    "additionalProperties": False,
    "properties": {
        "$schema": {"type": "string", "format": "uri"},
        "version": {"const": "2.1.0"},
        "runs": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["tool", "results"],
                "additionalProperties": False,
                "properties": {
                    "tool": {
                        "additionalProperties": False,
                        "required": ["driver"],
                        "properties": {
                            "driver": {
                                "additionalProperties": False,
                                "required": ["name"],
                                "properties": {
                                    "name": {"type": "string"},
                                    "version": {"type": "string"},
                                    "rules": {"uniqueItems": True, "items": {"$ref": "#/$defs/rule"}},
                                },
                            }
                        },
                    },
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "invocations": {"items": {"required": ["executionSuccessful"]}},
                    "results": {"type": "array", "items": {"$ref": "#/$defs/result"}},
                },
            },
        },
    },
    "$defs": {
        "level": {"enum": ["none", "note", "warning", "error"]},
        "text": {
            "required": ["text"],
            "additionalProperties": False,
            "properties": {"text": {"type": "string"}, "markdown": {"type": "string"}},
        },
        "rule": {
            "required": ["id"],
            "additionalProperties": False,
            "properties": {
                "id": {"type": "string"},
                "shortDescription": {"$ref": "#/$defs/text"},
                "help": {"$ref": "#/$defs/text"},
                "defaultConfiguration": {"properties": {"level": {"$ref": "#/$defs/level"}}},
            },
        },
        "result": {
            "required": ["message"],
            "additionalProperties": False,
            "properties": {
                "ruleId": {"type": "string"},
                "ruleIndex": {"type": "integer", "minimum": 0},
                "level": {"$ref": "#/$defs/level"},
                "message": {"$ref": "#/$defs/text"},
                "locations": {"items": {"$ref": "#/$defs/location"}},
                "relatedLocations": {"items": {"$ref": "#/$defs/location"}},
            },
        },
        "location": {
            "additionalProperties": False,
            "properties": {
                "physicalLocation": {
                    "additionalProperties": False,
                    "properties": {
                        "artifactLocation": {
                            "additionalProperties": False,
                            "properties": {"uri": {"type": "string", "pattern": "^[A-Za-z0-9%/._~-]+$"}},
                        },
                        "region": {
                            "additionalProperties": False,
                            "properties": {
                                "startLine": {"type": "integer", "minimum": 1},
                                "startColumn": {"type": "integer", "minimum": 1},
                            },
                        },
                    },
                },
                "logicalLocations": {
                    "items": {
                        "additionalProperties": False,
                        "properties": {"fullyQualifiedName": {"type": "string"}},
                    }
                },
            },
        },
    },
}
"""What of SARIF 2.1.0 is used, with no room for more: names and limits are those of its schema."""


def test_sarif_has_the_structure_and_the_explanations_as_rules(run):
    status, out = run("--format", "sarif", below="a fleet")
    assert status == 1
    log = json.loads(out)
    jsonschema.validate(log, STRUCTURE)
    (output,) = log["runs"]
    driver = output["tool"]["driver"]
    assert driver["version"] == __version__
    assert [
        each for each in output["results"] if driver["rules"][each["ruleIndex"]]["id"] != each["ruleId"]
    ] == []
    for rule in driver["rules"]:
        assert rule["help"]["markdown"] == read_page(rule["id"])
        assert rule["shortDescription"]["text"] == read_title(rule["id"])
    place = output["results"][0]["locations"][0]["physicalLocation"]
    assert unquote(place["artifactLocation"]["uri"]) == "a fleet/fleet.yaml"
    assert place["region"] == {"startLine": 1, "startColumn": 10}


def test_code_quality_has_the_fields_of_gitlab_and_fingerprints_that_stay_when_lines_move(run):
    fleet = "clusters:\n  - {name: a b, kind: m3}\n  - {name: a b, kind: m3}\nclusterz: 1\n"
    reports = []
    for text in (fleet, f"# one line more\n\n{fleet}"):
        status, out = run("--format", "codequality", files={"fleet.yaml": text}, below="a fleet")
        assert status == 1
        reports.append(json.loads(out))
    before, after = reports
    for entry in before:
        assert set(entry) == {"description", "check_name", "fingerprint", "severity", "location"}
        assert entry["severity"] in {"info", "minor", "major", "critical", "blocker"}
        assert entry["location"]["path"] == "a fleet/fleet.yaml"
        assert entry["location"]["lines"]["begin"] >= 1
    prints = [entry["fingerprint"] for entry in before]
    assert len(prints) > 2
    assert len(set(prints)) == len(prints)
    assert prints == [entry["fingerprint"] for entry in after]
    lines = [[entry["location"]["lines"]["begin"] for entry in report] for report in reports]
    assert [line + 2 for line in lines[0]] == lines[1]


def test_files_without_problems_give_an_empty_list_and_no_results(run):
    folder = find_examples() / "medium"
    files = {
        path.relative_to(folder).as_posix(): path.read_text("utf-8")
        for path in folder.rglob("*")
        if path.is_file()
    }
    for form in ("json", "codequality"):
        assert run("--format", form, files=files) == (0, "[]\n")
    status, out = run("--format", "sarif", files=files)
    assert (status, json.loads(out)["runs"][0]["results"]) == (0, [])
    assert run("--format", "github", files=files) == (0, "No problems in 2 clusters with 18 nodes.\n")


def test_warnings_alone_end_with_0(run):
    roles = [*GOOD["env"]["management"]["roles"], {"name": "idle"}]
    setting = {"env": {"management": {**GOOD["env"]["management"], "roles": roles}}}
    fleet = 'clusters: [{name: e, kind: m2, setting: s.json, nodes: [{name: n, address: "10.0.0.9"}]}]'
    status, out = run(files={"fleet.yaml": fleet, "s.json": json.dumps(setting)})
    assert status == 0
    assert "warning: " in out
    assert "[unused-role]" in out
    assert "\nNo errors and 1 warning in 1 cluster with 1 node. " in out


def test_an_overlay_that_cannot_be_applied_is_the_only_problem(run):
    """Without it a role is missing, which is no mistake of the base."""
    base = json.dumps({"env": {"management": {"api": {"allowList": [{"addr": "10.0.0.9", "role": "ours"}]}}}})
    fleet = (
        "clusters: [{name: e, kind: m2, setting: s.json, overlays: [{patch: [{op: remove, path: /no}]}],"
        ' nodes: [{name: n, address: "10.0.0.9"}]}]'
    )
    _, out = run("--format", "json", files={"fleet.yaml": fleet, "s.json": base})
    assert [each["code"] for each in json.loads(out)] == ["patch-path"]


def test_settings_are_checked_even_if_the_fleet_file_cannot_be_read(run):
    files = {"fleet.yaml": "clusters: [", "edge/setting.json": "{,}", "edge/other.json": "{,}"}
    _, out = run("--format", "json", files=files)
    assert [each["file"] for each in json.loads(out)] == ["fleet.yaml", "edge/setting.json"]


def test_a_lone_setting_has_its_problems_once(run):
    setting = copy.deepcopy({**GOOD, "meta": {"version": []}})
    setting["env"]["management"]["cluster"] = {"discover": {"members": ["127.0.0.1", "127.0.0.2"]}}
    _, out = run("--format", "json", files={"setting.json": json.dumps(setting)})
    assert errors(json.loads(out)) == [
        ("setting.json", 1, json.dumps(setting).index("[]") + 1, "/meta/version", "wrong-type")
    ]


def test_a_missing_source_is_the_same_error_as_for_other_commands(tmp_path, capsys):
    assert main(["validate", str(tmp_path / "nowhere"), "--format", "json"]) == 1
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("error: ")
    assert not Path(tmp_path / "nowhere").exists()


def test_strict_makes_warnings_errors_unless_they_are_silenced(run):
    fleet = "clusters: [{name: e, kind: m2, setting: s.json, nodes: [{name: e1, address: '127.0.0.1:9'}]}]\n"
    files = {"fleet.yaml": fleet, "s.json": json.dumps({**GOOD, "environment": {}})}
    status, out = run(files=files)
    assert (status, " warning: " in out, " error: " in out) == (0, True, False)
    status, out = run("--strict", files=files)
    assert (status, " warning: " in out, "[unfamiliar-key]" in out) == (1, False, True)
    status, out = run("--strict", "--format", "json", files=files)
    assert (status, {one["severity"] for one in json.loads(out)}) == (1, {"error"})
    ignore = "lint: {ignore: [{code: unfamiliar-key, reason: known to us}]}\n"
    status, out = run("--strict", files={**files, "fleet.yaml": ignore + fleet})
    assert status == 0, out
