"""SECURITY.md names tests that hold; data is never code; the examples for CI give a pull request no power."""

import ast
import re
from pathlib import Path

import pytest
import yaml
from support.program_source import all_nodes

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
WORKFLOW = yaml.safe_load((ROOT / "examples/ci/github.yml").read_text(encoding="utf-8"))
CODE = {"eval", "exec", "compile", "__import__"}
MODULES = {"pickle", "marshal", "shelve", "dill", "code", "codeop"}
NAMES = {"system", "popen", "unsafe_load", "full_load", "_create_unverified_context"}
ROOT_ONLY = "skipif(os.geteuid() != 0"
"""Only root can try what another user of the host may do; .ci/run is run by root."""
UNVERIFIED = {("doctor/network_probe.py", "CERT_NONE"): "reads when a certificate ends, and sends nothing"}


def rows(text):
    """(attack, tests) of each row of the tables of attacks."""
    attacks = text[text.index("## Attacks") :]
    for line in re.findall(r"^\| .+ \|$", attacks, re.MULTILINE):
        attack, _, tests = line.strip("| ").split(" | ")
        if attack not in {"attack", "---"}:
            yield attack, tests.split(", ")


def find_missing(names, root=ROOT):
    """Of the named tests those that do not exist, are left out, or need components that may be missing."""
    missing = []
    for name in names:
        file, _, function = name.strip("`").partition("::")
        path = root / file
        tree = ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else ast.Module([], [])
        found = [one for one in ast.walk(tree) if getattr(one, "name", "") == function]
        assigned = [one for one in tree.body if isinstance(one, ast.Assign)]
        known = {ast.unparse(one.targets[0]): ast.unparse(one.value) for one in assigned}
        marks = [ast.unparse(mark) for one in found for mark in one.decorator_list]
        marks = [known.get("pytestmark", ""), *(known.get(mark, mark) for mark in marks)]
        left_out = [
            mark
            for mark in marks
            if re.search(r"\b(skip|skipif|xfail|component)\b", mark) and ROOT_ONLY not in mark
        ]
        if len(found) != 1 or left_out or file.startswith("tests/components/"):
            missing.append(name)
    return missing


def test_each_attack_names_tests_that_exist_and_are_never_left_out():
    found = list(rows(TEXT))
    assert len(found) > 40
    assert find_missing({name for _, tests in found for name in tests}) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "def test_other(): ...",
        "@pytest.mark.skip\ndef test_it(): ...",
        "@pytest.mark.skipif(x, reason='')\ndef test_it(): ...",
        "pytestmark = pytest.mark.component('x')\ndef test_it(): ...",
    ],
    ids=["empty", "other", "skip", "skipif", "component"],
)
def test_a_test_that_is_not_run_is_found(tmp_path, text):
    (tmp_path / "test_one.py").write_text(text, encoding="utf-8")
    assert find_missing(["`test_one.py::test_it`"], tmp_path) == ["`test_one.py::test_it`"]


def test_every_actor_has_what_remains():
    parts = TEXT[TEXT.index("## Attacks") :].split("\n### ")[1:]
    assert [part.splitlines()[0] for part in parts if "**What remains.**" not in part] == []


def test_no_call_turns_data_into_code_or_leaves_tls_unverified():
    found = set()
    for file, node in all_nodes(ast.Call, ast.Import, ast.ImportFrom, ast.Attribute, ast.keyword):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CODE:
            found.add((file, node.func.id))
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            found |= {(file, name) for name in names if name.split(".")[0] in MODULES}
        if isinstance(node, ast.Attribute) and node.attr in NAMES | {"CERT_NONE"}:
            found.add((file, node.attr))
        if isinstance(node, ast.keyword):
            found |= {(file, node.arg)} if ast.unparse(node) in {"shell=True", "verify=False"} else set()
    assert found == set(UNVERIFIED)


def steps():
    return [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]


def test_no_value_of_a_pull_request_is_part_of_a_script():
    scripts = [step["run"] for step in steps() if "run" in step]
    assert scripts
    assert [script for script in scripts if "${{" in script] == []


def test_a_job_has_the_rights_that_it_needs_and_no_more():
    # YAML reads the key `on` as true.
    assert set(WORKFLOW[True]) == {"pull_request"}
    assert WORKFLOW["permissions"] == {}
    rights = {name: job["permissions"] for name, job in WORKFLOW["jobs"].items()}
    assert rights == {
        "validate": {"contents": "read"},
        "plan": {"contents": "read"},
        "comment": {"pull-requests": "write"},
    }
    assert "head.repo.full_name == github.repository" in WORKFLOW["jobs"]["plan"]["if"]
    checkouts = [step for step in steps() if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)
    # Who may write a comment never has what the author of the pull request wrote.
    assert not any("checkout" in step.get("uses", "") for step in WORKFLOW["jobs"]["comment"]["steps"])


@pytest.mark.parametrize("name", ["github.yml", "gitlab.yml"])
def test_ci_installs_the_program_by_its_digest_alone(name):
    text = (ROOT / "examples/ci" / name).read_text(encoding="utf-8")
    installs = re.findall(r"pip\"? install .*", text)
    assert installs
    assert all("$WHEEL_URL#sha256=$WHEEL_SHA256" in line for line in installs)
