"""Which backups nodes of M2 write after they loaded a setting, and whether one is of that setting; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from reconciler.core.secret import Secret
from reconciler.drivers.m2.content import ContentCache
from reconciler.drivers.m2.package import SETTING
from reconciler.drivers.m2.schema import M2Desired, NodeTarget
from reconciler.drivers.m2.setting.connections import BACKUP, BACKUP_TYPE, CONNECTION
from reconciler.drivers.m2.setting.diagnostics import get_named_items, get_object
from reconciler.ports.backups import ExpectedBackup

_SECONDS: Final = 30.0
_MOST_SECONDS: Final = 3600.0


def list_expected_backups(desired: M2Desired) -> tuple[ExpectedBackup, ...]:
    """The backups that the desired settings ask for (M2 manual, Events), each with its nodes."""
    found: dict[ExpectedBackup, set[str]] = {}
    for target in desired.targets:
        backup = get_object(target.content.document, *BACKUP)
        if backup.get("enable") is not True:
            continue
        seconds = backup.get("timeout")
        is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        one = ExpectedBackup(
            _get_text(backup, "hostname").strip(),
            _find_bucket(target, _get_text(backup, "connect")),
            _get_text(backup, "path").strip("/"),
            frozenset(),
            is_automatic=backup.get("auto") is not False,
            seconds=min(float(seconds), _MOST_SECONDS) if is_number and seconds else _SECONDS,
        )
        found.setdefault(one, set()).add(target.node)
    return tuple(replace(one, nodes=frozenset(nodes)) for one, nodes in found.items())


def find_backup_difference(desired: M2Desired, expected: ExpectedBackup, files: Mapping[str, bytes]) -> str:
    """Why the files of a backup are not what its node has loaded, after "the backup …"; empty if they are.

    Resources are not compared: which of them M2 packs is not documented.
    """
    if SETTING not in files:
        return f"has no {SETTING}"
    targets = [one for one in desired.targets if one.node in expected.nodes]
    named = [one for one in targets if one.node == expected.hostname]
    unstamped = False
    for target in named or targets:
        try:
            content = ContentCache(unmanaged=target.unmanaged).read(files[SETTING])
        except ValueError:
            return f"has a {SETTING} that cannot be read"
        if content.fingerprint == target.content.fingerprint:
            return ""
        unstamped = unstamped or content.unstamped == target.content.unstamped
    return (
        "has the setting with another meta.version" if unstamped else "has another setting than was delivered"
    )


def _find_bucket(target: NodeTarget, connect: str) -> str:
    for _, name, item in get_named_items(target.content.document, *CONNECTION):
        if name == connect and item.get("type") == BACKUP_TYPE:
            return _get_text(get_object(item, "info"), "bucket")
    return ""


def _get_text(value: Mapping[str, Any], key: str) -> str:
    found = value.get(key)
    if isinstance(found, Secret):
        return ""  # a secret is not shown, and a bucket or a path is shown in messages
    return found if isinstance(found, str) else ""
