"""Whether a node starts as the plan assumes with the sora.conf that the committed keys would make; pure.

Where only keys are ours, the rest of the file is known only when it is read. So what the committed keys and
the lines of the node make together is checked here, right before the file is delivered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from reconciler.core.file_state import FileState
from reconciler.core.secret import Secret, reveal
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.key_values import parse_key_values, parse_scalar
from reconciler.drivers.sora.schema import ConfTarget, SoraCluster, SoraNode
from reconciler.errors import InputError

CODE: Final = "conf-unfit"

_NEEDED: Final = ("node_name", "external_signaling_url", "external_api_url")
_PORTS: Final = {"http": 80, "https": 443}
_API_PORT: Final = 3000
_LOWEST, _HIGHEST = 49_010, 49_020


def find_conf_obstacle(
    entry: SoraCluster, node: SoraNode, target: ConfTarget, state: FileState, released: Mapping[str, bool]
) -> Diagnostic | None:
    """Why the file must not be delivered; None if it may.

    What is wrong in a node's file already, and stays as it is, is no reason: the node runs with it.

    Args:
        entry: the cluster.
        node: whose file it is.
        target: what is committed for it.
        state: its file as it was read.
        released: key -> whether a run has added it, of keys that are committed no more.
    """
    before = _read_values(state)
    if before is None:  # told where the file is rendered
        return None
    kept = {} if target.base is not None else before
    gone = {key for key, is_added in released.items() if is_added}
    after = {key: value for key, value in kept.items() if key not in gone} | dict(target.values)
    known = {*_find_faults(before)} if before else set()
    faults = [words for words in _find_faults(after) if words not in known]
    faults += _find_lost_api(node, before, after)
    if not faults:
        return None
    return Diagnostic(
        Severity.ERROR,
        CODE,
        f"the sora.conf of {node.name} is not changed: with the committed keys {'; '.join(faults)}",
        "commit the keys that are missing or contradict each other, or correct the file of the node by hand",
        target=f"{entry.name}/{node.name}",
    )


def _read_values(state: FileState) -> dict[str, Any] | None:
    """The values of a file; None if it cannot be read."""
    try:
        return dict(parse_key_values("", (state.content or b"").decode())[0])
    except (InputError, UnicodeDecodeError):
        return None


def _find_faults(values: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong in the values as a whole, one sentence each."""
    missing = [key for key in _NEEDED if key not in values]
    if values.get("cluster") is True and missing:
        yield from (f"it has no {key}, which a node of a cluster needs" for key in missing)
    low = _get_number(values, "cluster_listen_min_port", _LOWEST)
    high = _get_number(values, "cluster_listen_max_port", _HIGHEST)
    if low is not None and high is not None and low > high:
        yield f"its cluster_listen_min_port is above cluster_listen_max_port ({low} and {high})"


def _find_lost_api(node: SoraNode, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """A change of the API's port to another one than this host calls."""
    old, new = (_get_number(values, "api_port", _API_PORT) for values in (before, after))
    api = urlsplit(node.api)
    called = api.port or _PORTS[api.scheme]
    # Behind a proxy the two differ, which is no fault; a change would cut the proxy off all the same.
    if new is not None and before and new not in {old, called}:
        yield (
            f"its API moves from port {old} to {new} with its next start, and `api` of the fleet file has "
            f"port {called}"
        )


def _get_number(values: Mapping[str, Any], key: str, default: int) -> int | None:
    """A whole number; None if it is another value, or a secret that is not known here."""
    value = values.get(key, default)
    if isinstance(value, Secret):
        value = None if value.missing else parse_scalar(str(reveal(value)))
    return value if type(value) is int else None
