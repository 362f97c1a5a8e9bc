"""What a product or a source can do is asked of its base class, never by looking for methods."""

import ast

from support.program_source import all_nodes, trees


def protocols():
    """Names of the classes that are protocols."""
    for _, node in all_nodes(ast.ClassDef):
        bases = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
        if "Protocol" in {getattr(base, "id", "") for base in bases}:
            yield node.name


def test_no_protocol_is_asked_for_by_isinstance():
    known = {*protocols(), "runtime_checkable"}
    assert "SourceFiles" in known
    asked = [
        f"{file}:{node.lineno}"
        for file, node in all_nodes(ast.Call, ast.Name)
        if (
            isinstance(node, ast.Call)
            and getattr(node.func, "id", "") in {"isinstance", "issubclass"}
            and {each.id for each in ast.walk(node.args[1]) if isinstance(each, ast.Name)} & known
        )
        or (isinstance(node, ast.Name) and node.id == "runtime_checkable")
    ]
    assert asked == []


def test_the_hooks_of_drivers_are_not_looked_for():
    driver = trees()["ports/driver.py"]
    (base,) = [node for node in driver.body if isinstance(node, ast.ClassDef) and node.name == "Driver"]
    hooks = {node.name for node in base.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    looked_for = [
        f"{file}:{node.lineno}"
        for file, node in all_nodes(ast.Call)
        if getattr(node.func, "id", "") in {"hasattr", "getattr"}
        and isinstance(node.args[1], ast.Constant)
        and node.args[1].value in hooks
    ]
    assert looked_for == []
