"""The clusters of a fleet file: each read by its product's model, with the place of each node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from reconciler.core.entries import ClusterEntry, NodeEntry
from reconciler.core.policy import Policy
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.document import Document
from reconciler.documents.model_errors import ModelError, Path, find_model_errors, translate_model_errors
from reconciler.ports.driver import Driver
from reconciler.text.one_line import quote_text
from reconciler.text.suggestions import find_nearest

UNNAMED = "unnamed"
"""Stands for a cluster's name that is missing or wrong, so that the rest can be checked."""


@dataclass(frozen=True, slots=True)
class ClusterDefaults:
    """What the fleet file's top level says for clusters that do not say it themselves.

    Args:
        keys: key -> value of those that a cluster takes over whose product knows them.
        limits: the model of policies.
    """

    keys: Mapping[str, Any] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    limits: type[Policy] = Policy


@dataclass(frozen=True, slots=True)
class ParsedCluster:
    """One cluster as read.

    Args:
        entry: of the product's model; where the file is wrong, of what is right in it.
        raw: what the file says.
        pointer: of the entry in the fleet file.
        places: pointer of each of the entry's nodes, in their order.
        whole: whether the entry is all that the file says; not where something wrong was left out.
    """

    entry: ClusterEntry
    raw: Mapping[str, Any]
    pointer: str
    places: tuple[str, ...]
    policy: Policy
    whole: bool = True

    def members(self) -> list[tuple[NodeEntry, str]]:
        """The nodes, each with its place."""
        return list(zip(self.entry.members(), self.places, strict=False))


class ClusterParser:
    """Reads clusters one by one and gathers what is wrong with them."""

    def __init__(
        self, fleet: Document, drivers: Mapping[str, Driver[Any, Any]], defaults: ClusterDefaults
    ) -> None:
        self.fleet = fleet
        self.drivers = drivers
        self.defaults = defaults
        self.problems: list[Diagnostic] = []

    def read(self, raw: Any, pointer: str) -> ParsedCluster | None:
        """One cluster, as far as its file can be understood; nothing where it cannot."""
        if not isinstance(raw, Mapping):
            self._tell(pointer, "wrong-type", "a cluster is a mapping with `name`, `kind` and `nodes`", "")
            return None
        kind = raw.get("kind")
        if not isinstance(kind, str) or kind not in self.drivers:
            self._unknown_kind(raw, pointer)
            return None
        model = self.drivers[kind].entry
        rest, policy = self._policy(raw, pointer, model)
        for key in self.defaults.keys.keys() & model.model_fields.keys():
            rest.setdefault(key, self.defaults.keys[key])
        try:
            entry = model.model_validate(rest)
        except ValidationError as error:
            found = find_model_errors(error, model, rest)
            self.problems += translate_model_errors(found, self.fleet, pointer)
            kept = _salvaged(model, rest, found)
            if kept is None:
                return None
            entry, gone = kept
            return ParsedCluster(entry, raw, pointer, _places(pointer, rest, gone), policy, whole=False)
        return ParsedCluster(entry, raw, pointer, _places(pointer, rest, frozenset()), policy)

    def _policy(
        self, raw: Mapping[str, Any], pointer: str, model: type[ClusterEntry]
    ) -> tuple[dict[str, Any], Policy]:
        """The entry without its policy, and the policy with the fleet's in the place of what is not said."""
        rest = dict(raw)
        if "policy" in model.model_fields or "policy" not in rest:
            return rest, self.defaults.policy
        own = rest.pop("policy")
        try:
            given = self.defaults.limits.model_validate(own).model_dump(exclude_unset=True)
        except ValidationError as error:
            found = find_model_errors(error, self.defaults.limits, own)
            self.problems += translate_model_errors(found, self.fleet, f"{pointer}/policy")
            return rest, self.defaults.policy
        return rest, self.defaults.limits.model_validate(
            {**self.defaults.policy.model_dump(exclude_unset=True), **given}
        )

    def _unknown_kind(self, raw: Mapping[str, Any], pointer: str) -> None:
        known = ", ".join(f"`{kind}`" for kind in sorted(self.drivers))
        if "kind" not in raw:
            remedy = f"set it to the product of its nodes: one of {known}"
            self._tell(pointer, "missing-key", "`kind` is missing", remedy)
            return
        kind = str(raw["kind"])
        meant = find_nearest(kind, self.drivers)
        remedy = f"did you mean `{meant}`? The kinds are {known}" if meant else f"the kinds are {known}"
        message = f"{quote_text(kind)} is not a known cluster kind"
        self._tell(f"{pointer}/kind", "unknown-kind", message, remedy)

    def _tell(self, pointer: str, code: str, message: str, remedy: str) -> None:
        where = self.fleet.position(pointer)
        self.problems.append(
            Diagnostic(Severity.ERROR, code, message, remedy, position=where, pointer=pointer)
        )


def _salvaged(
    model: type[ClusterEntry], raw: dict[str, Any], found: list[ModelError]
) -> tuple[ClusterEntry, frozenset[Path]] | None:
    """The entry without what is wrong in it, so that its files and nodes are checked all the same.

    Beside it the paths of what is left out; nothing where too little is left.
    """
    gone = frozenset(_removed(mismatch) for mismatch in found)
    kept: Any = _without(raw, (), gone)
    kept.setdefault("name", UNNAMED)
    try:
        return model.model_validate(kept), gone
    except ValidationError:
        return None


def _removed(mismatch: ModelError) -> Path:
    """The path of what has to go so that the rest fits the model: the value, or all that needs it."""
    path = mismatch.path
    needed = bool(mismatch.missing) or (mismatch.field is not None and mismatch.field.is_required())
    if needed and not mismatch.missing:
        path = path[:-1] if path and isinstance(path[-1], str) and len(path) > 1 else path
    return path


def _without(value: Any, path: Path, gone: frozenset[Path]) -> Any:
    """A copy of a plain value without what stands at some paths."""
    if isinstance(value, dict):
        members = {key: (*path, key) for key in value}
        return {key: _without(value[key], at, gone) for key, at in members.items() if at not in gone}
    if isinstance(value, list):
        items = [(item, (*path, index)) for index, item in enumerate(value)]
        return [_without(item, at, gone) for item, at in items if at not in gone]
    return value


def _places(pointer: str, raw: Mapping[str, Any], gone: frozenset[Path]) -> tuple[str, ...]:
    nodes = raw.get("nodes")
    count = len(nodes) if isinstance(nodes, list) else 0
    return tuple(f"{pointer}/nodes/{index}" for index in range(count) if ("nodes", index) not in gone)
