"""Checks the fields that a fleet file declares as not ours, and what a file sets all the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from reconciler.core.pointer_pattern import ANY, Pattern
from reconciler.core.unmanaged import REFUSED, UNMATCHED, UnmanagedField, UnmanagedRules, find_values
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.document import Document, make_diagnostic
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.driver import Driver
from reconciler.text.json_pointer import make_pointer
from reconciler.text.one_line import quote_text
from reconciler.text.suggestions import find_nearest

SET: Final = "unmanaged-set"
"""Code of an unmanaged field that a file sets."""

_MOST_SHOWN: Final = 20
_MOST_KEYS: Final = 200


def check_unmanaged(cluster_input: ClusterInput, driver: Driver[Any, Any]) -> Iterator[Diagnostic]:
    """The errors about the unmanaged fields of a cluster, each once."""
    rules, fleet = driver.unmanaged_rules, cluster_input.fleet
    checked: dict[tuple[str, int], bool] = {}
    refused: dict[str, bool] = {}
    count = 0
    for node, fields in cluster_input.unmanaged.items():
        document = cluster_input.documents.get(node)
        for field in fields:
            if field.pointer not in refused:
                problem = _find_refusal(fleet, field, rules, driver.title)
                refused[field.pointer] = problem is not None
                if problem is not None:
                    yield problem
            # Nodes that share a document share its problems.
            key = (field.text, id(document))
            if refused[field.pointer] or document is None or key in checked:
                continue
            checked[key] = True
            for problem in _find_set_values(document, field, rules, fleet):
                count += 1
                if count <= _MOST_SHOWN:
                    yield problem


def _find_refusal(
    fleet: Document, field: UnmanagedField, rules: UnmanagedRules, product: str
) -> Diagnostic | None:
    """Why a pattern may not be unmanaged at all."""
    shown, pattern = quote_text(field.text), field.pattern
    if rules.refusal:
        message = f"`unmanaged` is not for {product}: {rules.refusal}"
        return make_diagnostic(fleet, field.pointer, REFUSED, message, "remove it")
    if not pattern:
        message = "`unmanaged` names the whole setting, so that nothing of it would be delivered"
        return make_diagnostic(fleet, field.pointer, REFUSED, message, "name single fields")
    vital = rules.find_vital(pattern)
    if vital is not None:
        place = make_pointer(vital.pattern)
        what = "is" if pattern == vital.pattern else "includes, or is in, or may be"
        message = f"{shown} must not be unmanaged: it {what} {place}, which decides {vital.reason}"
        remedy = "name the fields alone that the nodes write themselves"
        return make_diagnostic(fleet, field.pointer, REFUSED, message, remedy)
    return None


def _find_set_values(
    document: Document, field: UnmanagedField, rules: UnmanagedRules, fleet: Document
) -> Iterator[Diagnostic]:
    """Unmanaged fields that the settings set, and places where a pattern has no meaning."""
    where = fleet.position(field.pointer)
    shown, pattern = quote_text(field.text), field.pattern
    for path in find_values(document.value, pattern, rules.names):
        yield make_diagnostic(
            document,
            make_pointer(path),
            SET,
            f"the setting has a value here, and {shown} at {where} says that the field is not ours",
            "remove the value, or the pattern",
            related=(where,),
        )
    for number in range(len(pattern)):
        for path in find_values(document.value, pattern[:number], rules.names, is_prefix=True):
            value = _get_value(document.value, path)
            if isinstance(value, list):
                if wrong := _find_misplaced_part(pattern, number, make_pointer(path)):
                    message, remedy = wrong
                    yield make_diagnostic(fleet, field.pointer, REFUSED, f"{shown} {message}", remedy)
                    return
            elif not isinstance(value, Mapping):
                message = f"the setting has no object here, and {shown} at {where} names a field in one"
                remedy = "remove the value, or the pattern"
                yield make_diagnostic(document, make_pointer(path), SET, message, remedy, related=(where,))


def _find_misplaced_part(pattern: Pattern, number: int, place: str) -> tuple[str, str] | None:
    """(what a pattern names in a list and cannot, the remedy); None where it names what it can."""
    if number == len(pattern) - 1:
        message = f"names items of the list {place}, and only keys of objects can be unmanaged"
        return message, f"name keys of its items, such as {make_pointer((*pattern[:-1], ANY, 'key'))}"
    if pattern[number].isdigit():
        message = f"names an item of the list {place} by its number, which may be another one on a node"
        return message, "write * for all items, or the name of the item"
    return None


def lint_unmanaged(cluster_input: ClusterInput, driver: Driver[Any, Any]) -> Iterator[Diagnostic]:
    """Patterns that can match nothing in any setting of the cluster."""
    rules, fleet = driver.unmanaged_rules, cluster_input.fleet
    if rules.refusal:
        return
    documents: dict[str, dict[int, Document]] = {}
    fields: dict[str, UnmanagedField] = {}
    for node, own in cluster_input.unmanaged.items():
        for field in own:
            fields.setdefault(field.pointer, field)
            if (document := cluster_input.documents.get(node)) is not None:
                documents.setdefault(field.pointer, {})[id(document)] = document
    for pointer, field in fields.items():
        remedy = _explain_unmatched(field.pattern, list(documents.get(pointer, {}).values()), rules)
        if remedy:
            message = f"{quote_text(field.text)} matches nothing in the settings that it is for"
            yield make_diagnostic(fleet, pointer, UNMATCHED, message, remedy, severity=Severity.WARNING)


def _explain_unmatched(pattern: Pattern, documents: list[Document], rules: UnmanagedRules) -> str:
    """What was meant by a pattern of which not even the beginning is there; empty if it may match."""
    if not pattern or not documents:
        return ""
    for number, part in enumerate(pattern[:-1]):
        keys: set[str] = set()
        for document in documents:
            for path in find_values(document.value, pattern[:number], rules.names, is_prefix=True):
                value = _get_value(document.value, path)
                # `*` matches what only nodes have, too.
                if part == ANY or isinstance(value, list) or (isinstance(value, Mapping) and part in value):
                    break
                keys |= set(list(value)[:_MOST_KEYS]) if isinstance(value, Mapping) else set()
            else:
                continue
            break
        else:
            near = find_nearest(part, keys)
            if near:
                return f"did you mean {make_pointer((*pattern[:number], near, *pattern[number + 1 :]))}?"
            return ""  # a node may have objects of its own that no file has
    return ""


def _get_value(value: Any, path: tuple[str | int, ...]) -> Any:
    for part in path:
        value = value[part]
    return value
