"""Texts of nodes and secrets reach people, files and other programs by one way each, which masks them."""

import ast

from test_one_way import TREES, calls


def functions_with(wanted):
    """`file:function` of every function in which a call fits."""
    return {
        f"{file}:{node.name}"
        for file, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if any(isinstance(part, ast.Call) and wanted(ast.unparse(part)) for part in ast.walk(node))
    }


def test_words_of_an_answer_are_taken_by_the_one_method_that_masks_them():
    found = functions_with(lambda call: ".body" in call and ".decode(" in call and "request" not in call)
    assert found == {"ports/transport.py:quote"}


def test_every_way_to_nodes_that_is_opened_masks_what_nodes_are_quoted_with():
    opening = {file for file, _ in calls("open_transports", ".connect", "connect")}
    nodes = {file for file in opening if file.startswith(("api/", "adopt/", "planning/", "rollout/", "cli/"))}
    # `Reader.plan` hands its ways to `survey`, and `Reconciler` to `apply`, which mask the fleet's secrets
    assert nodes <= {"api/reader.py", "api/reconciler.py", "cli/commands/import_live.py"}
    masked = functions_with(lambda call: call.startswith("masking("))
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
