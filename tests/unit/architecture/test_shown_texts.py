"""Texts of nodes and secrets reach people, files and other programs by one way each, which masks them."""

import ast

from support_source import PACKAGE, all_nodes, trees
from test_one_way import calls


def functions_with(word, wanted):
    """`file:function` of every function in which a call fits that has a word in it."""
    files = {file for file in trees() if word in (PACKAGE / file).read_text(encoding="utf-8")}
    return {
        f"{file}:{node.name}"
        for file, node in all_nodes(ast.FunctionDef, ast.AsyncFunctionDef)
        if file in files
        if any(isinstance(part, ast.Call) and wanted(ast.unparse(part)) for part in ast.walk(node))
    }


def test_words_of_an_answer_are_taken_by_the_one_method_that_masks_them():
    found = functions_with(
        ".body", lambda call: ".body" in call and ".decode(" in call and "request" not in call
    )
    assert found == {"ports/transport.py:quote"}


def test_every_way_to_nodes_that_is_opened_masks_what_nodes_are_quoted_with():
    opening = {file for file, _ in calls("open_transports", ".connect", "connect")}
    nodes = {file for file in opening if file.startswith(("api/", "adopt/", "planning/", "rollout/", "cli/"))}
    # `Reader.plan` hands its ways to `survey`, and `Reconciler` to `apply`, which mask the fleet's secrets
    assert nodes <= {"api/reader.py", "api/reconciler.py", "cli/commands/import_live.py"}
    masked = functions_with("masking(", lambda call: call.startswith("masking("))
    assert masked == {
        "planning/plan_pass.py:survey",
        "rollout/apply_pass.py:apply",
        "api/reconciler.py:settle",
        "rollout/step_executor.py:perform",
        "adopt/importer.py:adopt",
    }


def test_nothing_that_shows_or_keeps_takes_secrets_in_clear():
    showing = (
        "cli/",
        "server/",
        "feedback/",
        "store/",
        "rollout/",
        "planning/",
        "guards/",
        "core/diagnostic",
    )
    assert [file for file, _ in calls("reveal") if file.startswith(showing)] == []
