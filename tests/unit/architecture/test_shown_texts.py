"""Texts of nodes and secrets reach people, files and other programs by one way each, which masks them."""

import ast

from support.program_source import PACKAGE, all_nodes, trees
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
    # `Reader.plan` hands its ways to `plan_result`, and `Reconciler` to `apply`, which mask the fleet's
    # secrets
    assert nodes <= {
        "api/reader.py",
        "api/reconciler.py",
        "api/operator.py",
        "api/stop_gate.py",
        "cli/commands/import_live.py",
    }
    masked = functions_with("mask_transports(", lambda call: call.startswith("mask_transports("))
    assert masked == {
        "api/operator.py:perform",
        "api/operator.py:read_clusters",
        "api/stop_gate.py:_decide",
        "planning/plan_pass.py:run_plan_pass",
        "rollout/polled_nodes.py:_with",
        "rollout/step_executor.py:run_step_masked",
        "adopt/importer.py:import_live_state",
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


WRITERS = {
    # people: plans, reports and messages come masked from `cli/render`, traces from `cli/main`
    *("cli/commands/demo.py", "cli/commands/reconcile.py", "cli/commands/simulate.py", "cli/main.py"),
    *("cli/terminal.py", "cli/demo_fixtures.py", "cli/demo_polling.py"),
    # log lines, after `LogRedactor`
    *("server/logs.py", "server/log_writer.py"),
    # files that people ask for: desired state as it was or as `SecretExtractor` writes it, plans with masks
    *(
        "cli/commands/secrets.py",
        "cli/text_editor.py",
        "cli/plan_files.py",
        "cli/file_writer.py",
        "host/atomic_write.py",
    ),
    # the state, and what lies beside it
    *("sources/git/worktree.py", "sources/http_cache.py", "sources/signatures/file_signer.py"),
    *("store/sql/host_key.py", "store/sql/store.py", "inventory/cache.py"),
    *("store/sqlite/database.py", "store/postgres/database.py"),
    # other programs: answers of the watch and its socket, of stand-ins, and what children read
    *("host/control_socket.py", "host/subprocesses.py", "server/control_server.py"),
    *("simulation/call_sender.py", "simulation/fault_control.py"),
    *("simulation/http_client.py", "simulation/node_server.py", "simulation/stream_server.py"),
    *("simulation/machine_call.py", "simulation/machine_folder.py"),
    "fault_trials/fork_server.py",
    # nodes: requests as their drivers make them
    "transports/http_connection.py",
    *("transports/machines/ssh.py", "transports/machines/ssh_tunnel.py"),
    "server/nodes/connection.py",
}
"""Modules that write to somebody; for a new one, `integration/test_quoted_secrets.py` has to look, too."""


def test_nothing_writes_to_people_files_or_programs_in_a_new_place():
    ways = (
        "print",
        "typer.echo",
        "write_atomically",
        "os.write",
        ".write",
        ".writelines",
        ".sendall",
        ".print_exc",
    )
    ways += (".write_text", ".write_bytes", "web.Response", ".json_response")
    assert {file for file, _ in calls(*ways)} == WRITERS
