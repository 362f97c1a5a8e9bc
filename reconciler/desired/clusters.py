"""The clusters of a fleet file: each read by its product's model, with the pointer of each node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from reconciler.core.entries import ClusterEntry, NodeEntry
from reconciler.core.policy import Policy
from reconciler.desired.inventory_nodes import WRONG, ExpandedNodes, expand_nodes, has_inventory
from reconciler.diagnostic import Diagnostic
from reconciler.documents.document import Document, make_diagnostic
from reconciler.documents.model_errors import (
    ModelError,
    Path,
    describe_value,
    find_model_errors,
    translate_model_errors,
)
from reconciler.ports.cluster_input import InventoryNode
from reconciler.ports.driver import Driver
from reconciler.ports.inventory import EXAMPLES, NO_INVENTORY, Inventory, UnreadInventory
from reconciler.text.suggestions import find_nearest

UNNAMED = "unnamed"
"""In place of a cluster's name that is missing or wrong, so that the rest can be checked."""


@dataclass(frozen=True, slots=True)
class ClusterDefaults:
    """Values of the fleet file's top level, for clusters without their own.

    Args:
        keys: key -> value; a cluster takes over those that its product names in `fleet_defaults`.
        limits: the model of policies.
    """

    keys: Mapping[str, Any] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    limits: type[Policy] = Policy


@dataclass(frozen=True, slots=True)
class ParsedCluster:
    """One cluster of a fleet file.

    Args:
        entry: in the product's model; if the file has errors, made of the valid parts.
        raw: the entry as the file has it.
        pointer: of the entry in the fleet file.
        node_pointers: pointer of each of the entry's nodes, in their order.
        whole: whether nothing wrong was left out of the entry.
        inventory: node -> where it comes from, if an inventory gives it.
        unread: why its nodes are not known; None if they are.
    """

    entry: ClusterEntry
    raw: Mapping[str, Any]
    pointer: str
    node_pointers: tuple[str, ...]
    policy: Policy
    whole: bool = True
    inventory: Mapping[str, InventoryNode] = field(default_factory=dict)
    unread: UnreadInventory | None = None

    def drop_nodes(self, unread: UnreadInventory) -> ParsedCluster:
        """The same without nodes, because it is not known which there are."""
        entry = self.entry.model_copy(update={"nodes": ()})
        return replace(self, entry=entry, node_pointers=(), inventory={}, unread=unread)

    def members(self) -> list[tuple[NodeEntry, str]]:
        """The nodes, each with its pointer."""
        return list(zip(self.entry.members(), self.node_pointers, strict=False))


class ClusterParser:
    """Reads clusters one by one and collects their problems."""

    def __init__(
        self,
        fleet: Document,
        drivers: Mapping[str, Driver[Any, Any]],
        defaults: ClusterDefaults,
        inventory: Inventory = NO_INVENTORY,
    ) -> None:
        self.fleet = fleet
        self.drivers = drivers
        self.defaults = defaults
        self.inventory = inventory
        self.problems: list[Diagnostic] = []

    def read(self, raw: Any, pointer: str) -> ParsedCluster | None:
        """One cluster, as far as its file can be understood; nothing where it cannot."""
        if not isinstance(raw, Mapping):
            message = "a cluster must be a mapping with `name`, `kind` and `nodes`"
            self._add_problem(pointer, "wrong-type", message)
            return None
        kind = raw.get("kind")
        if not isinstance(kind, str) or kind not in self.drivers:
            self._report_unknown_kind(raw, pointer)
            return None
        model = self.drivers[kind].entry
        rest, policy = self._policy(raw, pointer, model)
        # Before the model reads the entry, so that a value of the fleet is checked like one of the cluster.
        for key in self.defaults.keys.keys() & model.fleet_defaults:
            rest.setdefault(key, self.defaults.keys[key])
        expanded = self._expand_nodes(rest, pointer, model)
        try:
            entry = model.model_validate(rest)
        except ValidationError as error:
            found = find_model_errors(error, model, rest)
            self._add_model_errors(found, pointer, expanded)
            salvaged = _salvage_entry(model, rest, found)
            if salvaged is None:
                return None
            entry, dropped_paths = salvaged
        else:
            dropped_paths = frozenset()
        origins = expanded.origins if expanded else None
        node_pointers = _list_node_pointers(pointer, rest, dropped_paths, model.single_nodes, origins)
        parsed = ParsedCluster(entry, raw, pointer, node_pointers, policy, whole=not dropped_paths)
        if expanded is None:
            return parsed
        return (
            parsed.drop_nodes(expanded.unread)
            if expanded.unread is not None
            else replace(parsed, inventory=expanded.nodes)
        )

    def _expand_nodes(
        self, rest: dict[str, Any], pointer: str, model: type[ClusterEntry]
    ) -> ExpandedNodes | None:
        """Replace items of `nodes` by the nodes of an inventory; None if there are no such items."""
        items: list[Any] = rest.get("nodes") or []
        if not has_inventory(items):
            return None
        if not model.takes_inventory:
            message = "nodes of this product cannot come from an inventory: people decide who is a member"
            for index, item in enumerate(items):
                if has_inventory([item]):
                    self._add_problem(f"{pointer}/nodes/{index}", WRONG, message, "list its nodes")
        expanded = expand_nodes(items, self.inventory, self.fleet, f"{pointer}/nodes")
        if expanded.unread is not None:
            # With examples in their place, all else in the entry is checked as always.
            examples = expand_nodes(items, EXAMPLES, self.fleet, f"{pointer}/nodes")
            expanded = replace(examples, unread=expanded.unread)
        self.problems += expanded.problems
        rest["nodes"] = list(expanded.items)
        return expanded

    def _add_model_errors(
        self, found: Sequence[ModelError], pointer: str, expanded: ExpandedNodes | None
    ) -> None:
        """Add the problems of an entry, at their places in the file."""
        if expanded is not None:
            found = [_restore_path(one, expanded.origins) for one in found]
        problems = translate_model_errors(found, self.fleet, pointer)
        # All nodes of an item of the inventory have its mistakes.
        self.problems += dict.fromkeys(problems)

    def _policy(
        self, raw: Mapping[str, Any], pointer: str, model: type[ClusterEntry]
    ) -> tuple[dict[str, Any], Policy]:
        """The entry without its policy, and its policy completed with that of the fleet."""
        rest = dict(raw)
        # A product with a key of this name has a meaning of its own for it.
        if "policy" in model.model_fields or "policy" not in rest:
            return rest, self.defaults.policy
        own = rest.pop("policy")
        try:
            # Only what was written: with its defaults the cluster's policy would undo limits of the fleet.
            given = self.defaults.limits.model_validate(own).model_dump(exclude_unset=True)
        except ValidationError as error:
            found = find_model_errors(error, self.defaults.limits, own)
            self.problems += translate_model_errors(found, self.fleet, f"{pointer}/policy")
            return rest, self.defaults.policy
        return rest, self.defaults.limits.model_validate(
            {**self.defaults.policy.model_dump(exclude_unset=True), **given}
        )

    def _report_unknown_kind(self, raw: Mapping[str, Any], pointer: str) -> None:
        known = ", ".join(f"`{kind}`" for kind in sorted(self.drivers))
        if "kind" not in raw:
            remedy = f"set it to the product of its nodes: one of {known}"
            self._add_problem(pointer, "missing-key", "`kind` is missing", remedy)
            return
        kind = raw["kind"]
        meant = find_nearest(kind, self.drivers) if isinstance(kind, str) else ""
        remedy = f"did you mean `{meant}`? The kinds are {known}" if meant else f"the kinds are {known}"
        shown = describe_value(kind)
        is_name = shown.startswith("`")
        message = f"{shown} is not a known cluster kind" if is_name else f"`kind` must be text, got {shown}"
        self._add_problem(f"{pointer}/kind", "unknown-kind", message, remedy)

    def _add_problem(self, pointer: str, code: str, message: str, remedy: str = "") -> None:
        self.problems.append(make_diagnostic(self.fleet, pointer, code, message, remedy))


def _restore_path(error: ModelError, origins: Sequence[int]) -> ModelError:
    """The error of a node where its item is in the file."""
    match error.path:
        case ("nodes", int(index), *rest) if index < len(origins):
            return replace(error, path=("nodes", origins[index], *rest))
    return error


def _salvage_entry(
    model: type[ClusterEntry], raw: dict[str, Any], found: list[ModelError]
) -> tuple[ClusterEntry, frozenset[Path]] | None:
    """The entry without its wrong parts, and their paths; None if too little is left.

    With it, one run reports the problems of the entry, its files and its nodes together.
    """
    dropped_paths = frozenset(_find_removed_path(model_error) for model_error in found)
    kept: Any = _drop_paths(raw, (), dropped_paths)
    # A name that was wrong is gone as well: problems of nodes and files are to be found all the same.
    kept.setdefault("name", UNNAMED)
    try:
        return model.model_validate(kept), dropped_paths
    except ValidationError:
        return None


def _find_removed_path(model_error: ModelError) -> Path:
    """The path to drop so that the rest fits the model: the value, or the object that requires it."""
    path, field = model_error.path, model_error.field
    is_required = field is not None and field.is_required() and not model_error.missing
    # A required value cannot just go, so its object goes; at the top that would be the whole entry.
    return path[:-1] if is_required and len(path) > 1 and isinstance(path[-1], str) else path


def _drop_paths(value: Any, path: Path, dropped_paths: frozenset[Path]) -> Any:
    """A copy of a plain value without the values at some paths."""
    if isinstance(value, dict):
        members = {key: (*path, key) for key in value}
        return {
            key: _drop_paths(value[key], at, dropped_paths)
            for key, at in members.items()
            if at not in dropped_paths
        }
    if isinstance(value, list):
        items = [(item, (*path, index)) for index, item in enumerate(value)]
        return [_drop_paths(item, at, dropped_paths) for item, at in items if at not in dropped_paths]
    return value


def _list_node_pointers(
    pointer: str,
    raw: Mapping[str, Any],
    dropped_paths: frozenset[Path],
    single_nodes: tuple[str, ...],
    origins: Sequence[int] | None,
) -> tuple[str, ...]:
    nodes = raw.get("nodes")
    places = range(len(nodes) if isinstance(nodes, list) else 0) if origins is None else origins
    listed = (
        f"{pointer}/nodes/{place}"
        for index, place in enumerate(places)
        if ("nodes", index) not in dropped_paths
    )
    given = (key for key in single_nodes if raw.get(key) is not None and (key,) not in dropped_paths)
    return (*listed, *(f"{pointer}/{key}" for key in given))
