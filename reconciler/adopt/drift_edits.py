"""The differences between live and rendered settings, as edits in an order in which they apply; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from reconciler.adopt.factor_overlays import is_same_json
from reconciler.core.secret import Secret, find_secrets
from reconciler.documents.edit import REMOVED, Edit
from reconciler.errors import UsageError
from reconciler.text.json_pointer import make_pointer

Path = tuple[str | int, ...]


Key: TypeAlias = Callable[[Path, Any], str | None]
"""Identifies an item of the list at a path; None if nothing does."""


def get_name(_: Path, item: Any) -> str | None:
    """The `name` of an object."""
    name = item.get("name") if isinstance(item, Mapping) else None
    return name if isinstance(name, str) else None


def find_drift_edits(rendered: Any, shown: Any, path: Path = (), *, key: Key = get_name) -> Iterator[Edit]:
    """The edits from `rendered` to `shown`; a secret that is equal, or not known here, stays.

    Items of a list that grew or shrank are identified by their key if all have one, else by their index.
    Each member of a new object is one edit.

    Raises:
        UsageError: a secret differs, or cannot be identified because it is not known here.
    """
    if isinstance(rendered, Secret):
        # Its reference stays in the file. The value that a node shows must never be written there.
        if not rendered.missing and rendered.value != shown:
            raise UsageError(
                f"the value at {make_pointer(path)} differs from {rendered.reference}",
                remedy="change the secret where it is stored, then import again; nothing was written",
            )
    elif isinstance(rendered, Mapping) and isinstance(shown, Mapping):
        yield from _find_member_edits(rendered, shown, path, key)
    elif isinstance(rendered, list) and isinstance(shown, list):
        yield from _find_item_edits(rendered, shown, path, key)
    elif isinstance(rendered, Mapping | list) or isinstance(shown, Mapping | list):
        yield Edit(path, shown)
    else:
        # A node may write 1.0 as 1; true is not 1.
        are_numbers = {type(rendered), type(shown)} <= {int, float}
        if not (rendered == shown if are_numbers else is_same_json(rendered, shown)):
            yield Edit(path, shown)


def _find_member_edits(
    rendered: Mapping[str, Any], shown: Mapping[str, Any], path: Path, key: Key
) -> Iterator[Edit]:
    for name in rendered:
        if name not in shown:
            yield Edit((*path, name), REMOVED)
    for name, value in shown.items():
        if name in rendered:
            yield from find_drift_edits(rendered[name], value, (*path, name), key=key)
        else:
            yield from _list_added(value, (*path, name))


def _list_added(value: Any, path: Path) -> Iterator[Edit]:
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _list_added(item, (*path, name))
    else:
        yield Edit(path, value)


def _find_item_edits(rendered: Sequence[Any], shown: Sequence[Any], path: Path, key: Key) -> Iterator[Edit]:
    pairs = _pair_items(rendered, shown, path, key)
    for old, new in pairs:
        yield from find_drift_edits(rendered[old], shown[new], (*path, old), key=key)
    # Changes first, then removals from the end, then additions: no edit moves an index that a later one uses.
    kept, taken = {old for old, _ in pairs}, {new for _, new in pairs}
    added = [index for index in range(len(shown)) if index not in taken]
    for index in reversed(range(len(rendered))):
        if index not in kept:
            _check_known_secret(rendered[index], (*path, index), replaced=bool(added))
            yield Edit((*path, index), REMOVED)
    for number, index in enumerate(added):
        yield Edit((*path, len(kept) + number), shown[index])


def _check_known_secret(gone: Any, path: Path, *, replaced: bool) -> None:
    """Refuse to remove an item with an unknown secret if it may be one of the added items."""
    unknown = next((secret for _, secret in find_secrets(gone) if secret.missing), None)
    if unknown is not None and replaced:
        raise UsageError(
            f"{unknown.reference} at {make_pointer(path)} is unknown here, so its item cannot be identified",
            remedy=f"{unknown.missing}; nothing was written",
        )


def _pair_items(rendered: Sequence[Any], shown: Sequence[Any], path: Path, key: Key) -> list[tuple[int, int]]:
    """(old index, new index) of the items that stay, in order; new items follow all of them."""
    if len(rendered) != len(shown):
        old, new = _index_keys(rendered, path, key), _index_keys(shown, path, key)
        kept = [one for one in old if one in new]
        if old and new and list(new)[: len(kept)] == kept:
            return [(old[one], new[one]) for one in kept]
    return [(index, index) for index in range(min(len(rendered), len(shown)))]


def _index_keys(items: Sequence[Any], path: Path, key: Key) -> dict[str, int]:
    """Key -> index; empty unless every item has a key of its own."""
    found = {one: index for index, item in enumerate(items) if (one := key(path, item)) is not None}
    return found if len(found) == len(items) else {}
