"""Which keys of a node's sora.conf came from the committed file, so that they can leave with it; pure.

See `file_delivery.delivered_keys`; a line that stays is named once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

from reconciler.core.file_state import FileState
from reconciler.core.observation import Observed, Present
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.key_values import parse_key_values
from reconciler.drivers.sora.schema import NodeView, SoraDesired
from reconciler.errors import InputError
from reconciler.file_delivery.delivered_keys import DeliveredKeys

KEYS: Final = "conf_keys"
"""Fact of a node: the keys of its sora.conf that were delivered, see `file_delivery.delivered_keys`."""


def list_released_keys(desired: SoraDesired, node: str) -> dict[str, bool]:
    """Key -> whether a run has added it, of keys that were delivered and are committed no more."""
    values = desired.confs[node].values
    return {key: added for key, added in _read_delivered(desired, node).keys.items() if key not in values}


def make_keys_fact(desired: SoraDesired, node: str, current: Collection[str]) -> str:
    """The fact while the file is being delivered.

    Args:
        desired: with the keys that are committed now.
        node: its name.
        current: the keys of the file before that.
    """
    return _read_delivered(desired, node).extend(desired.confs[node].values, current).format_fact()


def _read_delivered(desired: SoraDesired, node: str) -> DeliveredKeys:
    return DeliveredKeys.parse(desired.recalled.get(node, {}).get(KEYS, ""))


def read_file_keys(state: FileState) -> frozenset[str] | None:
    """The keys of a file; None if it cannot be read."""
    try:
        values, _ = parse_key_values("", (state.content or b"").decode())
    except (InputError, UnicodeDecodeError):
        return None
    return frozenset(values)


def note_released_keys(desired: SoraDesired, node: str, current: Collection[str]) -> Iterator[Diagnostic]:
    """The keys that stay in a node's file although they are committed no more."""
    kept = _read_delivered(desired, node).list_kept(desired.confs[node].values, current)
    if kept:
        yield Diagnostic(
            Severity.NOTE,
            "conf-key-released",
            f"{', '.join(kept)} in the sora.conf of {node} stays as it was delivered: it is committed no "
            "more, and it was in the file before the first delivery",
            "remove or correct the line by hand, or commit the key again",
            target=f"{desired.entry.name}/{node}",
        )


def derive_key_facts(
    desired: SoraDesired, observed: Observed[NodeView], unchanged: Iterable[str]
) -> dict[str, dict[str, str]]:
    """Node -> fact, for nodes whose file is as desired.

    Args:
        desired: with the keys that are committed now.
        observed: with the files.
        unchanged: nodes whose file is as desired.
    """
    found: dict[str, dict[str, str]] = {}
    for node in unchanged:
        current = _read_keys(desired, observed, node)
        if current is None:
            continue
        fact = _read_delivered(desired, node).renew(desired.confs[node].values, current).format_fact()
        if fact != desired.recalled.get(node, {}).get(KEYS, ""):
            found[node] = {KEYS: fact}
    return found


def _read_keys(desired: SoraDesired, observed: Observed[NodeView], node: str) -> frozenset[str] | None:
    conf = desired.entry.conf
    files: Mapping[str, object] = observed.files.get(node, {})
    reading = files.get(conf.file) if conf is not None else None
    return read_file_keys(reading.value) if isinstance(reading, Present) else None
