"""What is to be done about the load balancer, and about servers that it does not use any more; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from reconciler.core.plan import Payload, Step
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.collab import steps
from reconciler.drivers.collab.cluster_view import ClusterView
from reconciler.drivers.collab.delivery import make_span, plan_balancer_file
from reconciler.drivers.collab.facts import LEAVING
from reconciler.drivers.collab.nginx_span import NginxSpan, read_marker
from reconciler.drivers.collab.preconditions import find_stop_obstacle
from reconciler.drivers.collab.schema import CollabDesired, FormerServer, LoadBalancer
from reconciler.file_delivery.content import UnfitFile
from reconciler.file_delivery.steps import FilePlan


@dataclass(frozen=True, slots=True)
class BalancerPlan:
    """The change of the load balancer.

    Args:
        file: the steps about its file.
        reload: the step that brings the file in; None if nothing is to be brought in.
        servers: `host:port` of the servers that it uses afterwards.
        joining: servers that it has not used before.
        leaving: servers that it does not use any more, and that still run.
        marker: of its file afterwards; empty if that is not known.
        findings: what is not done, and why.
    """

    desired: CollabDesired
    view: ClusterView
    file: FilePlan = field(default_factory=FilePlan)
    reload: tuple[Step, Mapping[str, Payload]] | None = None
    servers: tuple[str, ...] = ()
    joining: tuple[str, ...] = ()
    leaving: tuple[FormerServer, ...] = ()
    marker: str = ""
    findings: tuple[Diagnostic, ...] = ()

    def make_stops(self, well: frozenset[str]) -> tuple[Step, ...]:
        """The steps that stop the servers that have left; `well` serve by then."""
        names = [
            one.name for one in self.desired.entry.nodes if one.address in self.servers and one.name in well
        ]
        if find_stop_obstacle(names):
            return ()
        return tuple(
            steps.make_stop(
                self.desired,
                server,
                peers=names,
                marker=self.marker,
                status=self.view.get_status(server.name),
            )
            for server in self.leaving
        )

    def list_running(self) -> list[str]:
        """Servers that have left and are not known to be stopped before the end of the plan."""
        return [
            server.name
            for server in self.desired.former
            if self.view.get_status(server.name) is not None
            and server.name not in {one.name for one in self.leaving}
        ]


def find_balancer_plan(desired: CollabDesired, view: ClusterView, well: frozenset[str]) -> BalancerPlan:
    """The change of the load balancer; `well` are the servers that serve by then."""
    balancer = desired.entry.balancer
    if balancer is None or balancer.file is None:
        return BalancerPlan(desired, view, servers=tuple(one.address for one in desired.entry.nodes))
    if view.upstream is None or view.balancer is None:
        return BalancerPlan(desired, view, findings=(_report_away(desired, view, balancer),))
    named = {one.address: one.name for one in desired.entry.nodes}
    kept = [address for address in view.upstream if address in named]
    new = [address for address in named if address not in view.upstream]
    ready = [address for address in new if named[address] in well]
    findings = [
        _report(
            desired,
            named[address],
            "add-waits",
            f"is not given to the load balancer yet: it {view.describe(named[address])}",
        )
        for address in new
        if address not in ready
    ]
    # A run that was killed between the switch and the reload leaves a file with servers that nginx may not
    # use yet: each of them may be about to get its first clients.
    is_in_use = view.balancer.marker == read_marker(view.balancer_file)
    if not is_in_use and (away := [named[one] for one in kept if named[one] not in well]):
        words = f"is not reloaded: it may not use {away[0]} yet, which {view.describe(away[0])}"
        waits = _report(desired, balancer.name, "balancer-waits", words)
        return BalancerPlan(desired, view, servers=tuple(kept), findings=(*findings, waits))
    servers = (*kept, *ready)
    serving = sorted(named[address] for address in servers if named[address] in well)
    span = _choose_span(balancer, servers, view.balancer_file, view.balancer.marker)
    gone = [address for address in view.upstream if address not in named]
    leaving = _list_leaving(desired, view, gone)
    facts = {LEAVING: ",".join(one.name for one in leaving)} if gone else {}
    file_plan = plan_balancer_file(desired, view.observed, span, facts)
    findings += file_plan.findings
    is_loaded = view.balancer.marker == span.marker
    plan = BalancerPlan(
        desired,
        view,
        servers=servers,
        joining=tuple(named[address] for address in (ready if is_in_use else servers)),
        leaving=leaving,
        marker=span.marker,
        findings=tuple(findings),
    )
    if file_plan.findings or (not file_plan.is_changed and is_loaded):
        return replace(plan, file=FilePlan(steps=file_plan.steps), leaving=leaving if is_loaded else ())
    if not serving:
        words = "is not changed: none of the servers that it would use serves"
        waits = _report(desired, balancer.name, "balancer-waits", words)
        return replace(plan, leaving=(), joining=(), findings=(*findings, waits))
    reload = steps.make_reload(
        desired,
        balancer,
        marker=span.marker,
        digest=file_plan.digest or "",
        joining=plan.joining,
        remaining=serving,
        why=_describe_change(balancer, plan.joining, gone, is_changed=file_plan.is_changed),
    )
    return replace(plan, file=file_plan, reload=(reload, {}), findings=tuple(findings))


def _choose_span(
    balancer: LoadBalancer, servers: tuple[str, ...], current: bytes | None, loaded: str
) -> NginxSpan:
    """The part of the file that is ours: the one that is there, or one with another marker than is loaded.

    Somebody may have edited the servers and left the marker: with the same one, a reload could not be seen.
    """
    spans = [make_span(balancer, servers, turn=turn) for turn in (0, 1)]
    try:
        there = [span for span in spans if span.render(current) == current]
    except UnfitFile:
        there = []
    return there[0] if there else next(span for span in spans if span.marker != loaded)


def _list_leaving(desired: CollabDesired, view: ClusterView, gone: list[str]) -> tuple[FormerServer, ...]:
    """Former servers that still run, and that the load balancer stops, or has stopped, using by our doing."""
    balancer = desired.entry.balancer
    assert balancer is not None
    recalled = set(filter(None, desired.recall(balancer.name, LEAVING).split(",")))
    # By its address alone a server could be one of another cluster by now: only those are stopped that this
    # very load balancer used until now, or used until a run of this host took them out.
    return tuple(
        server
        for server in desired.former
        if (server.address in gone or server.name in recalled) and view.get_status(server.name) is not None
    )


def _describe_change(
    balancer: LoadBalancer, joining: tuple[str, ...], gone: list[str], *, is_changed: bool
) -> str:
    parts = [
        f"uses {', '.join(joining)}" if joining else "",
        f"does not use {', '.join(gone)} any more" if gone else "",
    ]
    words = " and ".join(filter(None, parts))
    if words:
        return f"{balancer.name} {words}"
    return f"{balancer.name} {'gets a changed file' if is_changed else 'has not loaded its file'}"


def _report_away(desired: CollabDesired, view: ClusterView, balancer: LoadBalancer) -> Diagnostic:
    answer = view.observed.nodes.get(balancer.name)
    why = getattr(answer, "reason", "")
    words = f"is not known to work ({why})" if why else "has a file that cannot be read"
    return _report(desired, balancer.name, "balancer-away", f"{words}, so it is not changed")


def _report(desired: CollabDesired, name: str, code: str, words: str) -> Diagnostic:
    return Diagnostic(
        Severity.ERROR,
        code,
        f"{name} {words}",
        "remove the cause; the next run continues from there",
        target=f"{desired.entry.name}/{name}",
    )
