"""What a status says of the files of a cluster's nodes; pure."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.core.file_state import FileMatch, FileStatus, FileUse
from reconciler.core.observation import Observed
from reconciler.drivers.collab.balancer_plan import find_balancer_plan
from reconciler.drivers.collab.cluster_view import ClusterView
from reconciler.drivers.collab.delivery import plan_config, plan_redis_conf
from reconciler.drivers.collab.facts import OUTDATED, STARTED
from reconciler.drivers.collab.nginx_span import read_marker
from reconciler.drivers.collab.planner import find_unused_values
from reconciler.drivers.collab.schema import CollabDesired
from reconciler.drivers.collab.views import CollabView
from reconciler.file_delivery.steps import FilePlan


def list_file_statuses(
    desired: CollabDesired, observed: Observed[CollabView]
) -> Mapping[str, tuple[FileStatus, ...]]:
    """Node -> its file: whether it is as desired, and whether the process uses it."""
    view, found = ClusterView(desired, observed), {}
    for server in desired.entry.nodes:
        place = desired.get_config_place(server)
        if place is not None:
            own = plan_config(desired, observed, server, desired.recall(server.name, STARTED))
            found[server.name] = (FileStatus(place.entry, _match(own), *_find_use(view, server.name)),)
    place = desired.get_redis_place()
    if place is not None:
        own, use = plan_redis_conf(desired, observed, ""), (FileUse.UNKNOWN, "Redis does not answer")
        if view.redis is not None and view.redis.run_id:
            is_outdated = view.redis.run_id == desired.recall(place.node, OUTDATED)
            words = "it was started before a run changed the file" if is_outdated else ""
            use = (FileUse.WAITS if is_outdated else FileUse.USED, words)
        found[place.node] = (FileStatus(place.entry, _match(own), *use),)
    place = desired.get_balancer_place()
    if place is not None:
        well = frozenset(one.name for one in desired.entry.nodes if view.is_healthy(one.name))
        own = find_balancer_plan(desired, view, well).file
        found[place.node] = (FileStatus(place.entry, _match(own), *_find_balancer_use(view)),)
    return found


def _match(plan: FilePlan) -> FileMatch:
    if plan.findings:
        return FileMatch.UNREADABLE
    return FileMatch.DIFFERS if plan.is_changed else FileMatch.AS_DESIRED


def _find_use(view: ClusterView, server: str) -> tuple[FileUse, str]:
    status = view.get_status(server)
    if status is None:
        return FileUse.UNKNOWN, "the server does not show its status"
    if status.start == view.desired.recall(server, OUTDATED):
        return FileUse.WAITS, "it was started before a run changed the file"
    if unused := "; ".join(find_unused_values(view.desired, server, status)):
        return FileUse.WAITS, unused
    return FileUse.USED, ""


def _find_balancer_use(view: ClusterView) -> tuple[FileUse, str]:
    if view.balancer is None or view.balancer_file is None:
        return FileUse.UNKNOWN, "the load balancer or its file cannot be read"
    if view.balancer.marker == read_marker(view.balancer_file):
        return FileUse.USED, ""
    return FileUse.WAITS, "nginx has not loaded it: /status through it has another marker"
