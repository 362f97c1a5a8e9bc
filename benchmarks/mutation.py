"""A fault planted into one function for a while, and what the model checker makes of it."""

from __future__ import annotations
import __future__

import ast
import inspect
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from scenes import Scene

from reconciler.core.guard import Guard
from reconciler.modelcheck.explore import Exploration


@dataclass(frozen=True, slots=True)
class Edit:
    """A text of a function's source, and another in its place."""

    function: FunctionType
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """One planted fault.

    Args:
        what: the guard or condition.
        fault: what is planted, in words.
        scene: where it shows.
        off: the layers that would hold it, switched off.
        backing: what they are called.
    """

    what: str
    fault: str
    edit: Edit
    scene: Scene
    off: tuple[Edit, ...] = ()
    backing: str = ""


def edit(function: Any, old: str, new: str) -> Edit:
    """An edit of a function, or of a guard's rule, that a type checker may know as something else."""
    if isinstance(function, Guard):
        function = function.rule
    assert isinstance(function, FunctionType)
    return Edit(function, old, new)


@contextmanager
def planted(edit: Edit) -> Iterator[None]:
    """The function with another text, for a while: whoever holds it runs the new one.

    Raises:
        ValueError: the old text does not stand in the function exactly once.
    """
    source = source_of(edit.function)
    if source.count(edit.old) != 1:
        raise ValueError(f"{edit.function.__qualname__} does not have {edit.old!r} exactly once")
    with running(edit.function, ast.parse(source.replace(edit.old, edit.new))):
        yield


def source_of(function: FunctionType) -> str:
    """The source of a function, from its first column on."""
    return textwrap.dedent(inspect.getsource(function))


@contextmanager
def running(function: FunctionType, module: ast.Module) -> Iterator[None]:
    """The function with the code of another one of its name, for a while.

    Args:
        function: whoever holds it runs the other.
        module: has one definition, whose decorators do not count.
    """
    (definition,) = module.body
    assert isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef)
    definition.decorator_list = []
    names: dict[str, object] = {}
    flags = __future__.annotations.compiler_flag
    exec(
        compile(module, function.__code__.co_filename, "exec", flags),
        dict(function.__globals__),
        names,
    )
    changed, whole = names[function.__name__], (function.__code__, function.__kwdefaults__)
    assert isinstance(changed, FunctionType)
    function.__code__, function.__kwdefaults__ = changed.__code__, changed.__kwdefaults__
    try:
        yield
    finally:
        function.__code__, function.__kwdefaults__ = whole


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one planted fault.

    Args:
        held: the scene without the fault, with the same layers switched off.
        found: the scene with it.
        backed: the scene with it while all other layers are whole.
    """

    mutant: Mutant
    held: Exploration
    found: Exploration
    backed: Exploration

    @property
    def caught(self) -> bool:
        """Whether the fault, and nothing else, breaks an invariant."""
        return bool(self.found.broken) and self.held.complete and not self.held.broken


def tried(mutant: Mutant) -> Result:
    """The scene of a mutant, three times."""
    held = walked(mutant, mutant.off)
    found = walked(mutant, (*mutant.off, mutant.edit))
    return Result(mutant, held, found, walked(mutant, (mutant.edit,)) if mutant.off else found)


def walked(mutant: Mutant, edits: Sequence[Edit]) -> Exploration:
    """The scene under some edits."""
    with ExitStack() as stack:
        for edit in edits:
            stack.enter_context(planted(edit))
        return mutant.scene()
