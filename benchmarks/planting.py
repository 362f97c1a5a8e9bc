"""Faults that a machine plants: each change of one operator, condition, number or call of a function."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FunctionType

from mutation import source_of

_COMPARES: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_BINARIES: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
UNMASKED = "unmasked"
"""How the place of a fault begins that lets a call pass which masks something."""

_MASKS = dict.fromkeys(("mask", "shown", "redact_text", "values", "redact", "hide"), 0) | {
    "hide_by_key": 1,
    "map": 1,
}
"""Calls that mask something -> which argument that is: without one, it is shown as it came."""
_CALLS = {"max": "min", "min": "max", "any": "all", "all": "any"}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Args:
        place: the function, and what is changed in it.
        module: the function's source with it.
    """

    function: FunctionType
    place: str
    module: ast.Module


class _Bare(ast.NodeTransformer):
    """Takes away annotations: nothing runs in them."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.returns = None
        self.generic_visit(node)
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AsyncFunctionDef:
        node.returns = None
        self.generic_visit(node)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is None:
            return ast.Pass()
        return ast.copy_location(ast.Assign([node.target], node.value), node)


def faults(function: FunctionType) -> Iterator[Fault]:
    """Every fault of the kinds of this module, one at a time."""
    whole = _Bare().visit(ast.parse(source_of(function)))
    for index, node in enumerate(ast.walk(whole)):
        for number, words in enumerate(_changes(node)):
            module = copy.deepcopy(whole)
            changed = next(other for place, other in enumerate(ast.walk(module)) if place == index)
            list(_changes(changed, number))
            place = f"{function.__qualname__}: {words}"
            yield Fault(function, place, ast.fix_missing_locations(module))


def _changes(node: ast.AST, which: int = -1) -> Iterator[str]:  # noqa: C901, PLR0912  (a case for each kind)
    """Each change of a node in words; the one that is asked for is made."""
    number = 0

    def made() -> bool:
        nonlocal number
        number += 1
        return number - 1 == which

    before = ast.unparse(node) if isinstance(node, ast.expr) else ""
    match node:
        case ast.Compare(ops=[op]) if type(op) in _COMPARES:
            if made():
                node.ops = [_COMPARES[type(op)]()]
            yield f"{type(op).__name__} in {before}"
        case ast.BoolOp():
            if made():
                node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield f"the other of and, or in {before}"
        case ast.BinOp(op=op) if type(op) in _BINARIES:
            if made():
                node.op = _BINARIES[type(op)]()
            yield f"{type(op).__name__} in {before}"
        case ast.If() | ast.IfExp():
            for value in (True, False):
                test = ast.unparse(node.test)
                if made():
                    node.test = ast.Constant(value)
                yield f"always {value}: {test}"
        case ast.comprehension(ifs=[test]):
            words = ast.unparse(test)
            if made():
                node.ifs = []
            yield f"no condition {words}"
        case ast.Constant(value=bool(value)):
            if made():
                node.value = not value
            yield f"not {value}"
        case ast.Constant(value=int(value)):
            if made():
                node.value = value + 1
            yield f"one more than {value}"
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if _masked(node) is not None:
            if made():
                node.func = _choosing(_masked(node))
            yield f"{UNMASKED}: {before}"
        case ast.Call(func=ast.Name(id=name)) if name in _CALLS:
            if made():
                node.func = ast.Name(_CALLS[name], ast.Load())
            yield f"{_CALLS[name]} in {before}"
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.For() | ast.With() | ast.AsyncWith():
            yield from _orders(node, made)


def _masked(call: ast.Call) -> int | None:
    """Which argument of a call comes back masked; None where none does."""
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    index = _MASKS.get(name)
    if (
        index is None
        or len(call.args) <= index
        or (name == "map" and "text" not in ast.unparse(call.args[0]))
    ):
        return None
    return index


def _choosing(index: int | None) -> ast.expr:
    """A function that gives back one of its arguments."""
    return ast.parse(f"(lambda *given, **_: given[{index}])", mode="eval").body


def _speaks(statement: ast.stmt) -> bool:
    """Whether somebody may notice when a statement is run; a docstring is none."""
    return not isinstance(statement, ast.Return) and any(
        isinstance(inner, ast.Await) or (isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Call))
        for inner in ast.walk(statement)
    )


def _orders(node: ast.AST, made: Callable[[], bool]) -> Iterator[str]:
    """A statement that speaks to somebody left out, or moved before or behind another one that does."""
    body: list[ast.stmt] = node.body  # type: ignore[attr-defined]
    speaking = [index for index, statement in enumerate(body) if _speaks(statement)]
    whole = tuple(body)
    for index in speaking:
        if not isinstance(whole[index], ast.Expr | ast.For):
            continue
        words = ast.unparse(whole[index]).splitlines()[0]
        if made():
            body[index] = ast.Pass()
        yield f"without {words}"
        for other in speaking:
            if other != index:
                if made():
                    body.insert(other, body.pop(index))
                yield f"{words} {'sooner' if other < index else 'later'}"
