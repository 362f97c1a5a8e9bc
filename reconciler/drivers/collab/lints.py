"""What is doubtful, though not wrong, in the entry of a cluster and in its files; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel

from reconciler.core.secret import reveal
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.document import Document, make_diagnostic
from reconciler.drivers.collab.cluster_state import LOOPBACK
from reconciler.drivers.collab.config import HORIZONTAL, CollabConfig, DataSource
from reconciler.drivers.collab.redis_keys import PASSWORD, PROTECTED, find_open_redis, split_bind
from reconciler.drivers.collab.schema import CollabCluster
from reconciler.ports.cluster_input import ClusterInput
from reconciler.text.json_pointer import make_pointer
from reconciler.text.one_line import clean_line
from reconciler.text.suggestions import find_nearest

_SIMILAR: Final = 0.85
"""From which similarity, of at most 1, an unknown key is probably a misspelled one."""

_MOST_UNKNOWN: Final = 50
"""Unknown keys of a file that are looked at."""

CODES: Final = frozenset(
    {
        *("single-server", "redis-open", "redis-protected", "redis-url-ignored", "tls-pairs", "no-balancer"),
        "config-key-similar",
    }
)


def lint(cluster_input: ClusterInput) -> Iterator[Diagnostic]:
    """Warnings about one cluster."""
    entry = cluster_input.entry
    assert isinstance(entry, CollabCluster)
    if len(entry.nodes) == 1:
        yield make_diagnostic(
            cluster_input.fleet,
            f"{cluster_input.pointer}/nodes",
            "single-server",
            f"{entry.name} has one server: nobody is served while it is restarted",
            "use at least two servers",
            severity=Severity.WARNING,
        )
    elif entry.balancer is None:
        yield make_diagnostic(
            cluster_input.fleet,
            cluster_input.pointer,
            "no-balancer",
            f"{entry.name} has several servers and no `loadBalancer`: who serves is not known, and servers "
            "are neither added to one nor removed from it",
            "add `loadBalancer` with the URL of the nginx in front of them",
            severity=Severity.WARNING,
        )
    yield from _lint_configs(cluster_input, entry)
    yield from _lint_redis(cluster_input, entry)


def _lint_configs(cluster_input: ClusterInput, entry: CollabCluster) -> Iterator[Diagnostic]:
    seen: set[int] = set()
    for server in entry.nodes:
        document = cluster_input.documents.get(server.name)
        if document is None or id(document) in seen or not isinstance(document.value, Mapping):
            continue
        seen.add(id(document))
        value = document.value
        yield from _lint_keys(document, value, CollabConfig, ())
        if isinstance(source := value.get("dataSource"), Mapping):
            yield from _lint_keys(document, source, DataSource, ("dataSource",))
        if "redisServerUrl" in value and reveal(value.get("scaling")) != HORIZONTAL:
            words = "redisServerUrl has no effect: it is only read with `scaling: horizontal`"
            remedy = "remove it, or write horizontal"
            yield _warn(document, "/redisServerUrl", "redis-url-ignored", words, remedy)
        if "keystoreFile" in value and "privateKeyFile" in value:
            words = "both pairs of TLS files are given; keystoreFile and passphrase take precedence"
            yield _warn(document, "/privateKeyFile", "tls-pairs", words, "remove one of the pairs")


def _lint_keys(
    document: Document, value: Mapping[str, Any], model: type[BaseModel], path: tuple[str, ...]
) -> Iterator[Diagnostic]:
    """Keys that are probably misspelled; other unknown keys may be ones that the documents do not list."""
    known = set(model.model_fields)
    folded = {name.casefold() for name in known}
    unknown = [key for key in value if key.casefold() not in folded]  # case alone is an error
    for key in unknown[:_MOST_UNKNOWN]:
        if meant := find_nearest(key, known, cutoff=_SIMILAR):
            pointer = make_pointer((*path, key))
            words = f"the key `{clean_line(key)}` is not known, and is similar to `{meant}`"
            remedy = f"write `{meant}` if that is meant; an unknown key is delivered as it is"
            yield _warn(document, pointer, "config-key-similar", words, remedy)


def _lint_redis(cluster_input: ClusterInput, entry: CollabCluster) -> Iterator[Diagnostic]:
    redis = entry.redis
    document = cluster_input.documents.get(redis.name) if redis is not None else None
    if redis is None or document is None or not isinstance(document.value, Mapping):
        return
    if not entry.strict:
        yield from find_open_redis(document, Severity.WARNING)
    value = document.value
    is_protected = reveal(value.get(PROTECTED, "yes")) != "no"
    is_remote = redis.host not in LOOPBACK and any(one.host != redis.host for one in entry.nodes)
    if is_protected and PASSWORD not in value and is_remote and split_bind(value):
        words = "with protected-mode and without a password, Redis may refuse servers on other machines"
        remedy = "add requirepass with a reference to a secret"
        yield _warn(document, "/bind", "redis-protected", words, remedy)


def _warn(document: Document, pointer: str, code: str, message: str, remedy: str) -> Diagnostic:
    return make_diagnostic(document, pointer, code, message, remedy, severity=Severity.WARNING)
