"""How steps of a cluster are taken back: files by their backups, and then what brings them in; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, TypeVar

from reconciler.core.observation import Observed, Present
from reconciler.core.plan import Payload, Step
from reconciler.drivers.collab.arguments import (
    FileUseArguments,
    ReloadArguments,
    RestartArguments,
    RestartRedisArguments,
    read_collab_arguments,
)
from reconciler.drivers.collab.cluster_view import read_redis_view, read_status
from reconciler.drivers.collab.nginx_span import read_marker
from reconciler.drivers.collab.status_view import DATABASE_SERVICE, REDIS_SERVICE
from reconciler.drivers.collab.views import CollabView
from reconciler.file_delivery.steps import is_file_step, undo_file_step
from reconciler.ports.driver import Undo

_SERVICES: Final = (DATABASE_SERVICE, REDIS_SERVICE)
"""The former file may lead to both by another way."""


def undo(step: Step, observed: Observed[CollabView], payloads: Mapping[str, Payload]) -> Undo | None:  # noqa: ARG001
    """The way back of a completed step; passwords and starts have none."""
    return undo_file_step(step, observed) if is_file_step(step) else None


def undo_part(
    step: Step,
    observed: Observed[CollabView],
    payloads: Mapping[str, Payload],  # noqa: ARG001
    shown: Observed[CollabView],
) -> Undo | None:
    """A restart or a reload with the former file, from what the nodes show now."""
    if is_file_step(step):
        return None
    own = read_collab_arguments(step)
    match own:
        case RestartArguments():
            status = read_status(shown, own.server)
            started = status.start if status is not None else own.started
            # The former file leads where it led before: the new password does not count for it.
            again = replace(
                _with_former_file(step, own, observed),
                started=started,
                fixes=_SERVICES,
                password="",
                again=True,
                # It is to come back where it was before.
                servers={name: own.former.get(name, url) for name, url in own.servers.items()},
                former={name: own.servers[name] for name in own.former if name in own.servers},
            )
            return replace(step, arguments=again, reason=f"{own.server} gets its former config.json"), {}
        case RestartRedisArguments():
            redis = read_redis_view(shown, own.redis)
            # Whoever serves again then is seen by the next pass: of a Redis that is down nothing is left.
            former = replace(
                _with_former_file(step, own, observed),
                run_id=redis.run_id if redis is not None else "",
                alone=False,
                serving=(),
                intent_facts={},
            )
            return replace(step, arguments=former, reason=f"{own.redis} gets its former redis.conf"), {}
        case ReloadArguments():
            return _undo_reload(step, own, observed)
    return None


_Use = TypeVar("_Use", bound=FileUseArguments)


def _with_former_file(step: Step, own: _Use, observed: Observed[CollabView]) -> _Use:
    """The same arguments with the file as it was before; with any file where that is not known."""
    reading = observed.files.get(step.node, {}).get(own.entry)
    return replace(own, digest=reading.value.digest if isinstance(reading, Present) else "")


def _undo_reload(step: Step, own: ReloadArguments, observed: Observed[CollabView]) -> Undo | None:
    reading = observed.files.get(step.node, {}).get(own.entry)
    if not isinstance(reading, Present):
        return None
    # A file that had no marker is known by that.
    marker = read_marker(reading.value.content)
    former = replace(own, marker=marker, digest=reading.value.digest, joining=())
    return replace(step, arguments=former, reason=f"{step.node} gets its former file"), {}
