"""Command line and server drive the pass through the API: of what is below they know types and values."""

import ast
import importlib
import inspect

from support.program_source import PACKAGE, all_nodes

PASS = ("reconciler.planning", "reconciler.rollout")
FUNCTIONS = {
    "make_plan_file": "writes a plan file, which is the command line's own business",
    "parse_plan_file": "reads one",
    "check_program": "refuses a plan file of another version before anything is read",
    "restrict_plan": "shows the new plan of a plan file without what the run has done since",
    "load_operation_plan": "reads the plan of an operation that the watch sends",
    "add_inventory": "gives a source what the clouds of this host answer, before it is read",
    "list_inventory_uses": "lists what the inventory of a result has, for people",
    "describe_origin": "says where a node comes from that the fleet file does not name",
    "restrict_to_reading": "keeps `reconcile import` from writing, which is no pass",
}
"""The functions of the pass that command line and server may call, and why."""


def taken_from_below():
    """(module, name) of everything that command line and server import from the pass."""
    for file, node in all_nodes(ast.ImportFrom):
        if file.startswith(("cli/", "server/")) and (node.module or "").startswith(PASS):
            yield from ((node.module, alias.name) for alias in node.names)


def test_the_command_line_and_the_server_call_nothing_below_the_api():
    found = {name for module, name in taken_from_below() if inspect.isroutine(_value(module, name))}
    assert found == set(FUNCTIONS)


def _value(module, name):
    return getattr(importlib.import_module(module), name)


def test_the_package_says_that_it_is_typed():
    assert (PACKAGE / "py.typed").is_file()
