"""What the program has one way for is done in that way alone."""

import ast

from support.program_source import all_nodes


def fields(node):
    """Names of what an object of a class holds: annotated fields, or what its constructor takes."""
    for part in node.body:
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            yield part.target.id
        elif isinstance(part, ast.FunctionDef) and part.name == "__init__":
            yield from (argument.arg for argument in [*part.args.args, *part.args.kwonlyargs])


def classes(without):
    for file, node in all_nodes(ast.ClassDef):
        if without not in map(ast.unparse, node.bases):
            yield file, node


def calls(*names):
    """(file, name) of every call of a function or method by one of these names."""
    ends = {each.rpartition(".")[2] for each in names}
    for file, node in all_nodes(ast.Call):
        if getattr(node.func, "attr", getattr(node.func, "id", "")) in ends:
            name = ast.unparse(node.func)
            if name in names or "." + name.rpartition(".")[2] in names:
                yield file, name


def test_one_type_holds_a_code_a_message_and_a_remedy():
    # a TypedDict is no type of its own: it describes the JSON that a diagnostic is written as
    found = [
        (file, node.name)
        for file, node in classes(without="TypedDict")
        if {"code", "message", "remedy"} <= {*fields(node)}
    ]
    assert found == [("diagnostic.py", "Diagnostic")]


def test_one_module_translates_what_a_model_says_is_wrong():
    # core/arguments.py names the places alone; it stands beside the documents and does not import them.
    # The judge of schemas is no model, and its errors are only counted there.
    expected = {"documents/model_errors.py", "core/arguments.py", "desired/schemas/judge.py"}
    assert {file for file, _ in calls(".errors")} == expected


def importers(module):
    return {
        file
        for file, node in all_nodes(ast.Import, ast.ImportFrom)
        if (isinstance(node, ast.Import) and module in {each.name for each in node.names})
        or (isinstance(node, ast.ImportFrom) and node.module == module)
    }


def test_one_module_looks_for_the_name_that_was_meant():
    assert {file for file, _ in calls("get_close_matches", ".get_close_matches")} == {"text/suggestions.py"}


def test_one_module_locks_files():
    assert importers("fcntl") == {"host/locks.py", "host/sockets.py"}


def test_one_module_puts_a_file_in_the_place_of_another():
    def renames(node):
        if not isinstance(node.func, ast.Attribute) or node.keywords:
            return False
        of_os = ast.unparse(node.func) in {"os.replace", "os.rename", "shutil.move"}
        return of_os or (node.func.attr in {"replace", "rename"} and len(node.args) == 1)

    assert {file for file, node in all_nodes(ast.Call) if renames(node)} == {"host/atomic_write.py"}


def test_one_module_says_which_characters_are_not_shown():
    found = {
        file
        for file, node in all_nodes(ast.Constant)
        if isinstance(node.value, str) and "\\x7f-\\x9f" in node.value
    }
    assert found == {"text/one_line.py"}


def test_one_loop_asks_again():
    # what else sleeps gives way to other tasks, waits for a lock, or is a simulation of time passing
    others = (
        "cli/demo_polling.py",
        "host/locks.py",
        "server/http_listener.py",
        "server/nodes/",
        "server/pages/change_events.py",
        "server/supervision.py",
        "fault_trials/",
        "simulation/",
        "store/postgres/leases.py",
        "transports/mailbox.py",
    )
    found = {file for file, _ in calls("asyncio.sleep", "time.sleep") if not file.startswith(others)}
    assert found == set()
