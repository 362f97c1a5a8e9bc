"""The program's own source, parsed once for all tests that walk it."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import reconciler

PACKAGE = Path(reconciler.__file__).parent


@cache
def trees() -> dict[str, ast.Module]:
    """Path below the package, with slashes -> its module."""
    return {
        path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    }


@cache
def nodes(file: str) -> tuple[ast.AST, ...]:
    """Every node of one module, as `ast.walk` gives them."""
    return tuple(ast.walk(trees()[file]))


def all_nodes(*kinds: type[ast.AST]) -> Iterator[tuple[str, ast.AST]]:
    """(file, node) of every node of the package that is of one of these kinds."""
    for file in trees():
        for node in nodes(file):
            if isinstance(node, kinds):
                yield file, node
