"""Unmanaged fields of M2: which may be, and each node's own values in what is delivered to it; pure.

M2 takes whole documents. So a field that is left out would be deleted, and what a node shows in its unmanaged
fields is put into its document: from a reading of this pass, and of this very node only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from reconciler.core.canonical import fingerprint as plain_fingerprint
from reconciler.core.diff import Change, Op
from reconciler.core.json_reader import JsonError, JsonLimits, check_size
from reconciler.core.observation import Observed, Present, Stale
from reconciler.core.plan import Payload
from reconciler.core.pointer_pattern import ANY, Pattern
from reconciler.core.unmanaged import (
    UNFILLED,
    UNMATCHED,
    UnfillableSetting,
    UnmanagedRules,
    VitalField,
    fill_unmanaged,
    find_values,
    strip_unmanaged,
)
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.m2.canonical import encode_clear
from reconciler.drivers.m2.changes import NAMED
from reconciler.drivers.m2.content import ContentCache
from reconciler.drivers.m2.schema import Content, LoadedSetting, M2Desired, NodeTarget
from reconciler.drivers.m2.setting.check import LIMITS
from reconciler.drivers.m2.shared_contents import FilledMask
from reconciler.text.json_pointer import make_pointer, split_pointer
from reconciler.text.one_line import quote_text

VALUE_LIMITS: Final = JsonLimits(size=256 * 1024, values=20_000, depth=50)
"""Limits of what one node shows in its unmanaged fields: it is data of a machine that nobody trusts."""

_MANAGEMENT: Final = ("env", "management")
RULES: Final = UnmanagedRules(
    vital=(
        VitalField(("meta",), "which setting a node has"),
        VitalField((*_MANAGEMENT, "api"), "who may reach a node, and where"),
        VitalField((*_MANAGEMENT, "roles"), "what callers of a node may do"),
        VitalField((*_MANAGEMENT, "cluster"), "which nodes are a cluster"),
        VitalField((*_MANAGEMENT, "server"), "where a node takes settings and purges from"),
        VitalField(("hosting", ANY), "which virtual hosts a node serves", is_deep=False),
        VitalField(("hosting", ANY, "name"), "which virtual host this is"),
    ),
    names=NAMED,
)


def keep_values(desired: M2Desired, observed: Observed[LoadedSetting]) -> M2Desired:
    """The desired state in which each node keeps what it shows in its unmanaged fields."""
    if not any(target.unmanaged for target in desired.targets):
        return desired
    targets, payloads = [], dict(desired.payloads)
    caches: dict[tuple[Pattern, ...], ContentCache] = {}
    for target in desired.targets:
        answer = observed.nodes.get(target.node)
        if not target.unmanaged or not isinstance(answer, Present | Stale):
            targets.append(target)  # without a setting there is nothing to keep
            continue
        if not desired.resources and answer.value.shows(desired.expected(target.content)):
            targets.append(target)  # nothing is delivered to it
            continue
        cache = caches.setdefault(target.unmanaged, ContentCache(unmanaged=target.unmanaged))
        kept, document = _keep(target, answer.value, cache)
        if document is not None:
            old = payloads[target.payload]
            # A digest of its own for each node, whatever the values: no other node can get them, and the plan
            # of a value that always changes stays one plan.
            digest = plain_fingerprint([target.payload, target.node, "unmanaged"])
            payloads[digest] = Payload(document, old.resources, old.missing)
            kept = replace(kept, payload=digest)
        targets.append(kept)
    return replace(desired, targets=tuple(targets), payloads=payloads)


def _keep(target: NodeTarget, loaded: LoadedSetting, cache: ContentCache) -> tuple[NodeTarget, Any]:
    """A node's target with its values, and the document; the reason and None where they are not known."""
    if loaded.own is None:
        reason = "only an offer or an older report shows its setting, and not what is in these fields now"
        return replace(target, unfilled=reason), None
    try:
        check_values(loaded.own.document, target.unmanaged)
        document = _fill(target.content.document, loaded.own.document, target.unmanaged)
        check_size(encode_clear(document), LIMITS)
    except (UnfillableSetting, JsonError) as error:
        return replace(target, unfilled=str(error)), None
    return replace(target, content=_make_filled(target.content, document, cache)), document


def _fill(wanted: Any, shown: Any, patterns: Sequence[Pattern]) -> Any:
    return fill_unmanaged(wanted, shown, patterns, NAMED)


def _make_filled(content: Content, document: Any, cache: ContentCache) -> Content:
    """The content of a filled document, which still has the token of its node as such."""
    filled = cache.of(document)
    if not content.token:
        return filled
    masks = {
        key: FilledMask(mask, frozenset({content.token})) for key, mask in filled.redaction_masks.items()
    }
    return replace(filled, common=content.common, token=content.token, redaction_masks=masks)


def check_values(shown: Any, patterns: Iterable[Pattern]) -> None:
    """Check that what a node shows in its unmanaged fields is within `VALUE_LIMITS`.

    Raises:
        JsonError: it is not; the message begins with "what it shows".
    """
    values = [_get_value(shown, path) for pattern in patterns for path in find_values(shown, pattern, NAMED)]
    if _measure_depth(values) > VALUE_LIMITS.depth:
        raise JsonError(f"what it shows there is more than {VALUE_LIMITS.depth} levels deep")
    if len(values) > VALUE_LIMITS.values or len(encode_clear(values)) > VALUE_LIMITS.size:
        raise JsonError(
            f"what it shows there has more than {VALUE_LIMITS.size:,} bytes, or is at more than "
            f"{VALUE_LIMITS.values:,} places"
        )


def _measure_depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [
        inner
        for one in level
        if isinstance(one, Mapping | list)
        for inner in (one.values() if isinstance(one, Mapping) else one)
    ]:
        depth += 1
    return depth


def _get_value(value: Any, path: Iterable[str | int]) -> Any:
    for part in path:
        value = value[part]
    return value


def count_values(desired: M2Desired, observed: Observed[LoadedSetting]) -> dict[str, int]:
    """Each pattern -> how many nodes show a value there."""
    found = {make_pointer(pattern): 0 for target in desired.targets for pattern in target.unmanaged}
    for target in desired.targets:
        answer = observed.nodes.get(target.node)
        shown = answer.value.own if isinstance(answer, Present | Stale) else None
        for pattern in target.unmanaged if shown is not None else ():
            assert shown is not None
            is_there = next(find_values(shown.document, pattern, NAMED), None) is not None
            found[make_pointer(pattern)] += is_there
    return found


def strip_values(desired: M2Desired, documents: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of nodes without their unmanaged fields, for files."""
    patterns = {target.node: target.unmanaged for target in desired.targets}
    return {
        node: strip_unmanaged(document, patterns.get(node, ()), NAMED) for node, document in documents.items()
    }


def report_unfilled(desired: M2Desired, target: NodeTarget) -> Diagnostic:
    """That nothing is sent to a node, because what it keeps is not known."""
    names = ", ".join(quote_text(make_pointer(pattern)) for pattern in target.unmanaged[:3])
    remedy = (
        "write its `address`, so that its API is read, or have it load its setting again, which it reports"
        if desired.entry.polling is not None
        else "correct what the node shows there, or let the desired state have the field"
    )
    return Diagnostic(
        Severity.ERROR,
        UNFILLED,
        f"{target.node} differs, and nothing is sent to it: it is to keep its own values in {names}, and "
        f"{target.unfilled}",
        remedy,
        target=f"{desired.entry.name}/{target.node}",
    )


def report_unmatched(desired: M2Desired, observed: Observed[LoadedSetting]) -> Iterator[Diagnostic]:
    """Patterns that match nothing on any node that was read."""
    read = sum(one.own is not None for one in observed.present().values())
    if not read:
        return
    for text, count in count_values(desired, observed).items():
        if not count:
            yield Diagnostic(
                Severity.NOTE,
                UNMATCHED,
                f"the unmanaged field {quote_text(text)} is on none of the {read} "
                "nodes that show their settings",
                "correct the pattern, or remove it",
                target=desired.entry.name,
            )


def suggest_patterns(changes: Iterable[Change]) -> tuple[str, ...]:
    """Patterns for what a node shows without having been sent it; none where something else differs too."""
    found: dict[str, None] = {}
    for change in changes:
        parts = split_pointer(change.pointer)
        pattern = _generalise(parts)
        if change.op is not Op.REMOVE or not pattern or RULES.find_vital(pattern) is not None:
            return ()
        found[make_pointer(pattern)] = None
    return tuple(found)


def _generalise(parts: Pattern) -> Pattern:
    """A pointer as a plan shows it as a pattern: `*` in place of a name or an index of a list's item."""
    places = {path for path, _ in NAMED}
    found: list[str] = []
    for part in parts:
        keys = tuple(one for one in found if one != ANY)
        is_item = keys in places and (not found or found[-1] != ANY)
        found.append(ANY if is_item or re.fullmatch(r"[0-9]{1,9}", part) else part)
    return tuple(found) if found and found[-1] != ANY else ()
