"""What is to be done about the files of a cluster's nodes; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

from reconciler.core.canonical import fingerprint
from reconciler.core.file_state import FilePlace
from reconciler.core.json_reader import JsonError, JsonLimits, read_json
from reconciler.core.observation import Observed, Present
from reconciler.core.secret import Secret, reveal
from reconciler.drivers.collab.cluster_state import HORIZONTAL
from reconciler.drivers.collab.facts import KEYS, OUTDATED, STATUS
from reconciler.drivers.collab.nginx_span import NginxSpan
from reconciler.drivers.collab.redis_conf import RedisConf
from reconciler.drivers.collab.redis_keys import PASSWORD
from reconciler.drivers.collab.released_keys import KeyRelease, find_key_release
from reconciler.drivers.collab.schema import (
    SERVER_PORT,
    CollabDesired,
    CollabServer,
    LoadBalancer,
    make_status_url,
    parse_redis_url,
    read_url_address,
)
from reconciler.drivers.collab.status_view import DATABASE_SERVICE, REDIS_SERVICE
from reconciler.drivers.collab.views import CollabView
from reconciler.file_delivery.content import UnfitFile
from reconciler.file_delivery.json_keys import JsonKeys
from reconciler.file_delivery.steps import FilePlan, FileWish, plan_file
from reconciler.text.json_pointer import split_pointer

_WAYS: Final = {
    DATABASE_SERVICE: ("dataSource",),
    REDIS_SERVICE: ("redisServerUrl", "scaling"),
}
"""Service -> the keys of config.json by which a server reaches it."""

_PORTS: Final = 65_536

_TLS_POINTER: Final = "/enableTls"

_LIMITS: Final = JsonLimits(size=4 * 1024 * 1024, values=100_000, depth=100)


def plan_config(
    desired: CollabDesired, observed: Observed[CollabView], server: CollabServer, started: str
) -> FilePlan:
    """The steps about the config.json of one server; none where it is not managed.

    Args:
        desired: the desired state.
        observed: with the reading of the file.
        server: the server.
        started: the last start that it showed; empty for none.
    """
    place = desired.get_config_place(server)
    if place is None or server.name not in desired.configs:
        return FilePlan()
    release = _find_release(desired, observed, place)
    facts = {KEYS: release.fact} if release.fact else {}
    wish = FileWish(
        cluster=desired.entry.name,
        place=place,
        content=JsonKeys(
            desired.configs[server.name],
            removed=tuple(map(split_pointer, release.released)),
        ),
        facts=facts
        | (
            {
                OUTDATED: started,
                STATUS: desired.former_urls.get(server.name) or desired.get_status_url(server),
            }
            if started
            else {}
        ),
        settle=desired.entry.timeouts.settle,
        in_flight=desired.entry.timeouts.in_flight,
    )
    return plan_file(wish, observed.files.get(place.node, {}).get(place.entry))


def plan_redis_conf(desired: CollabDesired, observed: Observed[CollabView], run_id: str) -> FilePlan:
    """The steps about redis.conf; `run_id` is of the process that has to be restarted for it, or empty."""
    place = desired.get_redis_place()
    if place is None or desired.redis_keys is None:
        return FilePlan()
    release = _find_release(desired, observed, place)
    facts = {KEYS: release.fact} if release.fact else {}
    wish = FileWish(
        cluster=desired.entry.name,
        place=place,
        content=RedisConf({**dict.fromkeys(release.released), **desired.redis_keys}),
        facts=facts | ({OUTDATED: run_id} if run_id else {}),
        settle=desired.entry.timeouts.settle,
        in_flight=desired.entry.timeouts.in_flight,
    )
    return plan_file(wish, observed.files.get(place.node, {}).get(place.entry))


def _find_release(desired: CollabDesired, observed: Observed[CollabView], place: FilePlace) -> KeyRelease:
    """The keys of a file that leave, and what is remembered of it; nothing where it cannot be read."""
    reading = observed.files.get(place.node, {}).get(place.entry)
    if not isinstance(reading, Present):
        return KeyRelease()
    try:
        return find_key_release(desired, place, reading.value.content)
    except UnfitFile:  # reported where it is rendered
        return KeyRelease()


def list_unchanged_files(desired: CollabDesired, observed: Observed[CollabView]) -> frozenset[str]:
    """The nodes whose config.json or redis.conf is as desired."""
    plans = {server.name: plan_config(desired, observed, server, "") for server in desired.entry.nodes}
    if desired.entry.redis is not None:
        plans[desired.entry.redis.name] = plan_redis_conf(desired, observed, "")
    return frozenset(node for node, one in plans.items() if one.digest is not None and not one.is_changed)


def needs_redis_restart(desired: CollabDesired, observed: Observed[CollabView]) -> bool:
    """Whether redis.conf changes in more than its password, which is changed without a restart."""
    place = desired.get_redis_place()
    if place is None or desired.redis_keys is None:
        return False
    reading = observed.files.get(place.node, {}).get(place.entry)
    if not isinstance(reading, Present):
        return False
    values = {key: value for key, value in desired.redis_keys.items() if key != PASSWORD}
    others = RedisConf({**dict.fromkeys(_find_release(desired, observed, place).released), **values})
    return others.render(reading.value.content) != (reading.value.content or b"")


def plan_balancer_file(
    desired: CollabDesired,
    observed: Observed[CollabView],
    span: NginxSpan,
    facts: Mapping[str, str],
) -> FilePlan:
    """The steps about the nginx file."""
    place = desired.get_balancer_place()
    assert place is not None
    wish = FileWish(
        cluster=desired.entry.name,
        place=place,
        content=span,
        facts=facts,
        settle=desired.entry.timeouts.settle,
        in_flight=desired.entry.timeouts.in_flight,
    )
    return plan_file(wish, observed.files.get(place.node, {}).get(place.entry))


def make_span(
    balancer: LoadBalancer, servers: tuple[str, ...], *, is_tls: bool = False, turn: int = 0
) -> NginxSpan:
    """The part of the nginx file with these servers, and with a marker that changes with them.

    Args:
        balancer: the load balancer.
        servers: `host:port` of each.
        is_tls: whether they speak TLS.
        turn: another one gives another marker to the same servers.
    """
    parts = [balancer.upstream, list(servers), *(["tls"] if is_tls else []), *([turn] if turn else [])]
    scheme = "https" if is_tls else "http"
    marker = fingerprint(parts)[:16]
    return NginxSpan(upstream=balancer.upstream, servers=servers, marker=marker, scheme=scheme)


def list_missing_secrets(desired: CollabDesired) -> Iterator[tuple[str, str]]:
    """Where a secret belongs that is not known here, and why it is not."""
    for server in desired.entry.nodes:
        if (place := desired.get_config_place(server)) is not None:
            yield from JsonKeys(desired.configs.get(server.name, {})).list_missing(place.entry)
    if (place := desired.get_redis_place()) is not None and desired.redis_keys is not None:
        yield from RedisConf(desired.redis_keys).list_missing(place.entry)


def add_file_tls(desired: CollabDesired, observed: Observed[CollabView]) -> CollabDesired:
    """The desired state with what the files will say of TLS, where the committed ones do not."""
    found: dict[str, bool] = {}
    for server in desired.entry.nodes:
        place = desired.get_config_place(server)
        current = _read_config(desired, observed, server)
        if place is None or desired.get_tls(server.name) is not None or not current:
            continue
        is_leaving = _TLS_POINTER in _find_release(desired, observed, place).released
        found[server.name] = current.get("enableTls") is True and not is_leaving
    return replace(desired, file_tls=found)


def _read_config(
    desired: CollabDesired, observed: Observed[CollabView], server: CollabServer
) -> dict[str, Any]:
    """The present config.json of a server; empty if it is not managed or cannot be read."""
    place = desired.get_config_place(server)
    reading = observed.files.get(place.node, {}).get(place.entry) if place is not None else None
    return parse_config_file(reading.value.content) if isinstance(reading, Present) else {}


def find_former_urls(
    desired: CollabDesired, observed: Observed[CollabView], server: CollabServer
) -> tuple[str, ...]:
    """Where the process of a server may still answer, if its port or its TLS is about to change.

    By the file that it has now, and by what a run of this host remembers that has already changed that file.
    """
    wanted = desired.get_status_url(server)
    found = [desired.recall(server.name, STATUS)]
    if current := _read_config(desired, observed, server):
        port = current.get("port", SERVER_PORT)
        if isinstance(port, int) and not isinstance(port, bool) and 0 < port < _PORTS:
            found.append(_make_former_url(server, port, is_tls=current.get("enableTls") is True))
    # The host is that of the fleet file, whatever a node's file or an earlier run says. What answers at the
    # address of another server is that one.
    others = {one.address for one in desired.entry.nodes if one.name != server.name}
    host = read_url_address(wanted).rpartition(":")[0]
    return tuple(
        dict.fromkeys(
            url
            for url in found
            if url != wanted and (address := read_url_address(url)) and address not in others
            if address.rpartition(":")[0] == host
        )
    )


def _make_former_url(server: CollabServer, port: int, *, is_tls: bool) -> str:
    """`/status` of a server by its present file; empty if `status` of the fleet file does not follow it."""
    if server.status is None:
        return make_status_url(server, port, is_tls=is_tls)
    host, _, own = read_url_address(server.status).rpartition(":")
    return f"{urlsplit(server.status).scheme}://{host}:{port}/status" if own == str(server.port) else ""


def find_fixed_services(
    desired: CollabDesired, observed: Observed[CollabView], server: CollabServer
) -> frozenset[str]:
    """The services whose way the new config.json of a server changes."""
    place, wanted = desired.get_config_place(server), desired.configs.get(server.name)
    reading = observed.files.get(place.node, {}).get(place.entry) if place is not None else None
    if wanted is None or not isinstance(reading, Present):
        return frozenset()
    assert place is not None
    current = parse_config_file(reading.value.content)
    released = {split_pointer(one)[0] for one in _find_release(desired, observed, place).released}
    return frozenset(
        service
        for service, keys in _WAYS.items()
        if any(_differs(current.get(key), wanted, key) or key in released & current.keys() for key in keys)
    )


def _differs(current: Any, wanted: Mapping[str, Any], key: str) -> bool:
    if key not in wanted:
        return False
    value = wanted[key]
    if isinstance(value, Mapping):
        inner = current if isinstance(current, Mapping) else {}
        return any(_differs(inner.get(name), value, name) for name in value)
    return not (isinstance(value, Secret) and value.missing) and current != reveal(value)


def find_current_passwords(desired: CollabDesired, observed: Observed[CollabView]) -> tuple[str, ...]:
    """The passwords of this cluster's Redis in the config.json of its servers, as these are now."""
    redis = desired.entry.redis
    found: dict[str, None] = {}
    for server in desired.entry.nodes if redis is not None else ():
        place = desired.get_config_place(server)
        reading = observed.files.get(place.node, {}).get(place.entry) if place is not None else None
        if not isinstance(reading, Present):
            continue
        # Only what was meant for this very Redis is ever shown to it.
        if redis is not None and (password := find_file_password(reading.value.content, redis.address)):
            found |= {password: None}
    return tuple(found)


def find_file_password(content: bytes | None, address: str) -> str | None:
    """The password in a config.json for the Redis at an address; None if it leads to another one or none."""
    text = parse_config_file(content).get("redisServerUrl")
    parsed = parse_redis_url(text) if isinstance(text, str) else None
    return parsed.password if parsed is not None and parsed.address == address.lower() else None


def uses_redis(desired: CollabDesired, observed: Observed[CollabView]) -> bool:
    """Whether a server may use this cluster's Redis with its present config.json."""
    for server in desired.entry.nodes:
        place = desired.get_config_place(server)
        reading = observed.files.get(place.node, {}).get(place.entry) if place is not None else None
        if not isinstance(reading, Present):
            return True
        if parse_config_file(reading.value.content).get("scaling") == HORIZONTAL:
            return True
    return False


def find_login_password(desired: CollabDesired) -> Secret | None:
    """The password by which the servers are let in by Redis; None without one."""
    if desired.redis_password is not None:
        return desired.redis_password
    for values in desired.configs.values():
        value = values.get("redisServerUrl")
        parsed = parse_redis_url(str(reveal(value))) if value is not None else None
        if parsed is not None and parsed.password:
            missing = value.missing if isinstance(value, Secret) else ""
            return Secret(parsed.password, "${redisServerUrl}", missing)
    return None


def parse_config_file(content: bytes | None) -> dict[str, Any]:
    """The values of a config.json; empty if it cannot be read."""
    try:
        value = read_json(content or b"{}", _LIMITS)
    except JsonError:
        return {}
    return value if isinstance(value, dict) else {}
