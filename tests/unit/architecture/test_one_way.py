"""What the program has one way for is done in that way alone."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[3] / "reconciler"
TREES = {
    path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
}


def fields(node):
    """Names of what an object of a class holds: annotated fields, or what its constructor takes."""
    for part in node.body:
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            yield part.target.id
        elif isinstance(part, ast.FunctionDef) and part.name == "__init__":
            yield from (argument.arg for argument in [*part.args.args, *part.args.kwonlyargs])


def classes(without):
    for file, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and without not in map(ast.unparse, node.bases):
                yield file, node


def calls(*names):
    """(file, name) of every call of a function or method by one of these names."""
    for file, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                if name in names or name.rpartition(".")[2] in {each[1:] for each in names if each[0] == "."}:
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
    # core/arguments.py names the places alone; it stands beside the documents and does not import them
    assert {file for file, _ in calls(".errors")} == {"documents/model_errors.py", "core/arguments.py"}
