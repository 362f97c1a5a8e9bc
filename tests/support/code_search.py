"""Finds the codes that the program puts in brackets, by walking its source.

A code is a literal where one belongs: an argument for a parameter or field called `code`, a value given
to a name `code` or `CODE`, or the first of the texts that a function returns.
"""

import ast
import re
from functools import cache

from support.program_source import nodes, trees

FORM = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

OTHERS = {
    "cli/commands/explain.py",  # takes a code, gives none
    "cli/render/sarif.py",
    "cli/render/code_quality.py",
    "drivers/m2/machine.py",  # answers of the simulated product
    "drivers/m2/responses.py",  # the product's own codes
    "drivers/m2/simulator",
    "drivers/sora/simulator",
    "simulation",
    "server/webhook/signature.py",  # answers to a webhook's sender
    "server/webhook/answer.py",
    "server/json_api",  # answers to programs; the page of the API lists them
    "server/request_problems.py",
    "server/acts/task_table.py",
    "server/pages/act_endpoint.py",
}


@cache
def used():
    """Code -> the files that use it."""
    own = {file: dict(_takers(file)) for file in trees() if not _other(file)}
    shared = {word: index for takers in own.values() for word, index in takers.items() if word[0] != "_"}
    constants = {file: dict(_constants(tree)) for file, tree in trees().items()}
    found = {}
    for file, takers in own.items():
        imported = dict(_imported(file, constants))
        for code in _File(file, {**shared, **takers}, {**imported, **constants[file]}).codes():
            found.setdefault(code, set()).add(file)
    return found


@cache
def literals():
    """Every text that is written out in the program."""
    own = (node for file in trees() if not _other(file) for node in nodes(file))
    return {node.value for node in own if isinstance(node, ast.Constant)} | used().keys()


def _other(name):
    return any(name.startswith(other) for other in OTHERS)


def _takers(file):
    """(name, index) of what is called with a code."""
    for node in nodes(file):
        if isinstance(node, ast.ClassDef):
            fields = [each.target.id for each in node.body if isinstance(each, ast.AnnAssign)]
            inits = [each for each in node.body if getattr(each, "name", "") == "__init__"]
            fields = [argument.arg for init in inits for argument in init.args.args[1:]] or fields
            if "code" in fields:
                yield node.name, fields.index("code")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name != "__init__":
            names = [argument.arg for argument in node.args.args if argument.arg not in {"self", "cls"}]
            if "code" in names:
                yield node.name, names.index("code")


def _constants(tree):
    """(name, value) of what a module gives a name once and for all."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            yield node.target.id, node.value


def _imported(file, constants):
    for node in nodes(file):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("reconciler."):
            there = constants.get(node.module.removeprefix("reconciler.").replace(".", "/") + ".py", {})
            for each in node.names:
                if each.name in there:
                    yield each.asname or each.name, there[each.name]


def _gives_code(function):
    """Whether a function returns code, message and remedy, or says that it returns a code with something."""
    returns = ast.unparse(function.returns) if function.returns else ""
    is_pair = "tuple[str, str]" in returns and (ast.get_docstring(function) or "").startswith("Code, and")
    return is_pair or "tuple[str, str, str]" in returns


class _File:
    """One module, with what it calls with a code and the names that it can resolve."""

    def __init__(self, file, takers, names):
        self.file, self.takers, self.names = file, takers, names

    def codes(self):
        for node in nodes(self.file):
            match node:
                case ast.Call():
                    yield from self._called(node)
                case ast.Assign(targets=[target], value=value):
                    self._alias(target, value)
                    yield from self._given(target, value)
                case ast.For(target=target, iter=listed):
                    yield from self._listed(target, listed)
                case ast.FunctionDef() if _gives_code(node):
                    yield from self._returned(node)
                case ast.JoinedStr() | ast.Constant():
                    yield from self._bracketed(node)

    def _returned(self, function):
        for node in ast.walk(function):
            if isinstance(node, ast.Return) and getattr(node.value, "elts", ()):
                yield from self._literals(node.value.elts[0])

    def _bracketed(self, text):
        """A code that stands in brackets at the end of a message already."""
        match text:
            case ast.JoinedStr(values=[*_, ast.Constant(value=before), ast.FormattedValue(value=name), last]):
                if before.endswith(" [") and last.value == "]":
                    yield from self._literals(name)
            case ast.Constant(value=str(words)) if found := re.search(r" \[([a-z][a-z-]*)\]$", words):
                yield found[1]

    def _called(self, node):
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if called in self.takers:
            place = self.takers[called]
            values = [*node.args[place : place + 1], *(w.value for w in node.keywords if w.arg == "code")]
            for value in values:
                yield from self._literals(value)

    def _alias(self, target, value):
        """A name for one of several functions: `tell = a.doubt if x else a.add`."""
        if isinstance(value, ast.IfExp):
            meant = {getattr(side, "attr", "") for side in (value.body, value.orelse)}
            if meant <= self.takers.keys():
                self.takers[target.id] = self.takers[meant.pop()]

    def _given(self, target, value):
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for name, each in zip(target.elts, value.elts, strict=True):
                yield from self._given(name, each)
        elif isinstance(target, ast.Name) and target.id in {"code", "CODE"}:
            yield from self._literals(value)

    def _listed(self, target, listed):
        """`for word, code in ((…, …), …)`, where what is listed may have a name."""
        names = [getattr(each, "id", "") for each in getattr(target, "elts", [])]
        rows = self.names.get(getattr(listed, "id", ""), listed)
        if "code" in names and isinstance(rows, ast.Tuple):
            for row in rows.elts:
                yield from self._literals(row.elts[names.index("code")])

    def _literals(self, value):
        match value:
            case ast.IfExp(body=one, orelse=other):
                yield from self._literals(one)
                yield from self._literals(other)
            case ast.Name(id=name) if name in self.names:
                yield from self._literals(self.names[name])
            case ast.Constant(value=str(text)) if FORM.fullmatch(text):
                yield text
            case ast.JoinedStr():  # written as a literal, a code can be found, by people too
                yield ast.unparse(value)
