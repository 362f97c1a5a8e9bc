"""What becomes of keys of config.json and redis.conf that are committed no more; pure.

See `file_delivery.delivered_keys`. `requirepass` never leaves by itself: a line that is missing in a commit
must not open a Redis.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from reconciler.core.file_state import FilePlace
from reconciler.core.observation import Observed, Present
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.collab.facts import KEYS
from reconciler.drivers.collab.redis_conf import REQUIREPASS, read_redis_values
from reconciler.drivers.collab.schema import CollabDesired
from reconciler.drivers.collab.views import CollabView
from reconciler.file_delivery.content import UnfitFile
from reconciler.file_delivery.delivered_keys import DeliveredKeys
from reconciler.file_delivery.json_keys import list_json_keys, parse_json_object
from reconciler.text.json_pointer import format_pointer
from reconciler.text.one_line import join_some

_MAX_NAMED = 5


@dataclass(frozen=True, slots=True)
class KeyRelease:
    """The keys of one file.

    Args:
        released: keys that leave; of a config.json JSON pointers.
        kept: keys that stay, although they are committed no more.
        fact: of the node while the file is being delivered.
        settled: of the node once the file is as desired.
    """

    released: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    fact: str = ""
    settled: str = ""


def find_key_release(desired: CollabDesired, place: FilePlace, content: bytes | None) -> KeyRelease:
    """The keys of the config.json or redis.conf at a place, whose content is that of a reading.

    Raises:
        UnfitFile: the content cannot be read.
    """
    redis = desired.get_redis_place()
    is_redis = redis is not None and redis.node == place.node
    if is_redis:
        committed: Collection[str] = frozenset(desired.redis_keys or {})
        present: Collection[str] = frozenset(read_redis_values(content))
    else:
        committed = frozenset(list_json_keys(desired.configs.get(place.node, {})))
        present = frozenset(list_json_keys(parse_json_object(content)))
    known = DeliveredKeys.parse(desired.recall(place.node, KEYS))
    if is_redis:
        known = _keep_password(known)
    during, settled = known.extend(committed, present), known.renew(committed, present)
    if is_redis:
        during, settled = _keep_password(during), _keep_password(settled)
    return KeyRelease(
        known.list_released(committed),
        known.list_kept(committed, present),
        during.format_fact(),
        settled.format_fact(),
    )


def _keep_password(keys: DeliveredKeys) -> DeliveredKeys:
    """The same with a password that counts as one that was there before."""
    return DeliveredKeys({key: added and key != REQUIREPASS for key, added in keys.keys.items()})


def report_kept_keys(desired: CollabDesired, observed: Observed[CollabView]) -> Iterator[Diagnostic]:
    """The keys that stay in the files of nodes although they are committed no more."""
    for place, release in _walk(desired, observed):
        if not release.kept:
            continue
        names = join_some([_show_key(key) for key in release.kept], _MAX_NAMED)
        is_redis = place.node not in desired.configs
        words = "it is no longer committed"
        if is_redis and REQUIREPASS in release.kept:
            words += ", and a password is not removed by that"
        else:
            words += ", and was in the file before the first delivery"
        yield Diagnostic(
            Severity.NOTE,
            "config-key-released",
            f"{names} in the file {place.entry} of {place.node} stays as it was delivered: {words}",
            "remove or correct it by hand, or commit it again",
            target=f"{desired.entry.name}/{place.node}",
        )


def derive_key_facts(
    desired: CollabDesired, observed: Observed[CollabView], unchanged: Collection[str]
) -> dict[str, dict[str, str]]:
    """Node -> which keys of its file are ours, for nodes whose file is as desired."""
    return {
        place.node: {KEYS: release.settled}
        for place, release in _walk(desired, observed)
        if place.node in unchanged and release.settled != desired.recall(place.node, KEYS)
    }


def _walk(desired: CollabDesired, observed: Observed[CollabView]) -> Iterator[tuple[FilePlace, KeyRelease]]:
    configs = (desired.get_config_place(one) for one in desired.entry.nodes if one.name in desired.configs)
    places = [*configs, desired.get_redis_place() if desired.redis_keys is not None else None]
    for place in places:
        reading = observed.files.get(place.node, {}).get(place.entry) if place is not None else None
        if place is None or not isinstance(reading, Present):
            continue
        try:
            yield place, find_key_release(desired, place, reading.value.content)
        except UnfitFile:
            continue


def _show_key(key: str) -> str:
    return format_pointer(key).removeprefix("/") if key.startswith("/") else key
