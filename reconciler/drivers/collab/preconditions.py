"""Why a server must not be interrupted in the present state of its cluster; "" if it may; pure.

The planner, the guards and the judgement right before each call use the same rules.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from reconciler.drivers.collab.cluster_view import list_services
from reconciler.drivers.collab.status_view import REDIS_SERVICE


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartCase:
    """All on which the restart of a running server depends.

    Args:
        is_serving: whether it serves now.
        missing: services that it says are away.
        fixes: services whose way its new file changes.
        heals: whether it is restarted because it stays paused although its services are there.
        serving_peers: other servers that serve, and that the load balancer uses.
        needs_peer: whether one of them is needed; not if the cluster has this server alone.
        missing_elsewhere: service that is away -> the others that say so.
        is_redis_there: whether Redis answers.
        accepts_password: whether Redis accepts the password of its file; None if none is needed.
    """

    is_serving: bool
    missing: AbstractSet[str] = frozenset()
    fixes: AbstractSet[str] = frozenset()
    heals: bool = False
    serving_peers: Collection[str] = ()
    needs_peer: bool = True
    missing_elsewhere: Mapping[str, Collection[str]] = field(default_factory=dict)
    is_redis_there: bool = True
    accepts_password: bool | None = None


def find_restart_obstacle(case: RestartCase) -> str:
    """Why the server must not be restarted now."""
    if not case.is_redis_there:
        return "Redis does not answer, so it would come back paused"
    if case.accepts_password is False:
        return "Redis does not accept the password of its file, so it would come back paused"
    return _find_serving_obstacle(case) if case.is_serving else _find_paused_obstacle(case)


def _find_paused_obstacle(case: RestartCase) -> str:
    """A restart costs nothing, but is of use only if it comes back better."""
    lasting = case.missing - case.fixes
    if case.heals:
        lasting -= {REDIS_SERVICE}
    if lasting:
        return f"it cannot reach {list_services(lasting)}, and its new file does not change the way there"
    return ""


def _find_serving_obstacle(case: RestartCase) -> str:
    if case.missing_elsewhere:
        service, names = next(iter(sorted(case.missing_elsewhere.items())))
        who = ", ".join(sorted(names))
        return f"{who} cannot reach {list_services([service])}: a server that serves might come back paused"
    if case.needs_peer and not case.serving_peers:
        return "no other server serves"
    return ""


def find_stop_obstacle(serving_peers: Collection[str]) -> str:
    """Why a server that the load balancer does not use must not be stopped now."""
    return "" if serving_peers else "no other server serves"
