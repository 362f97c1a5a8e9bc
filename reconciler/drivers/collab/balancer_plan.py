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
from reconciler.drivers.collab.nginx_span import NginxSpan, read_scheme
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
        peers: servers that it uses afterwards, and that serve.
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
    peers: tuple[str, ...] = ()

    def make_stops(self, well: frozenset[str]) -> tuple[Step, ...]:
        """The steps that stop the servers that have left; `well` serve by then."""
        names = [name for name in self.peers if name in well]
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


def find_balancer_plan(
    desired: CollabDesired, view: ClusterView, well: frozenset[str], renewed: frozenset[str] = frozenset()
) -> BalancerPlan:
    """The change of the load balancer.

    Args:
        desired: the desired state.
        view: what the nodes show.
        well: servers that serve by then.
        renewed: servers that were started with their new file by then.
    """
    balancer = desired.entry.balancer
    if balancer is None or balancer.file is None:
        nodes = desired.entry.nodes
        return BalancerPlan(
            desired,
            view,
            servers=tuple(one.address for one in nodes),
            peers=tuple(one.name for one in nodes if one.name in well),
        )
    if view.upstream is None or view.balancer is None:
        return BalancerPlan(desired, view, findings=(_report_away(desired, view, balancer),))
    own = _Members(desired, view, well, renewed)
    new = [address for address in own.named if address not in view.upstream]
    new = [address for address in new if own.named[address] not in own.moving]
    ready = [one for one in new if own.named[one] in well and own.fits_protocol(own.named[one])]
    findings = [
        _report(
            desired,
            own.named[address],
            "add-waits",
            f"is not given to the load balancer yet: it {own.describe(own.named[address])}",
        )
        for address in new
        if address not in ready
    ]
    is_tls, going = own.choose_leaving(view.upstream, [own.named[address] for address in ready])
    kept = [one for one in view.upstream if one in own.named and own.named[one] not in going]
    # A run that was killed between the switch and the reload leaves a file with servers that nginx may not
    # use yet: each of them may be about to get its first clients.
    is_in_use = view.is_balancer_loaded
    if not is_in_use and (away := [own.named[one] for one in kept if own.named[one] not in well]):
        words = f"is not reloaded: it may not use {away[0]} yet, which {view.describe(away[0])}"
        waits = _report(desired, balancer.name, "balancer-waits", words)
        return BalancerPlan(desired, view, servers=tuple(kept), findings=(*findings, waits))
    servers = (*kept, *ready)
    serving = sorted(own.named[address] for address in servers if own.named[address] in well)
    span = _choose_span(balancer, servers, view.balancer_file, view.balancer.marker, is_tls=is_tls)
    gone = [address for address in view.upstream if address not in servers]
    leaving = _list_leaving(desired, view, [address for address in gone if address not in own.named])
    facts = {LEAVING: ",".join(one.name for one in leaving)} if gone else {}
    file_plan = plan_balancer_file(desired, view.observed, span, facts)
    findings += file_plan.findings
    is_loaded = view.balancer.marker == span.marker
    joining = [own.named[address] for address in (ready if is_in_use else servers)]
    plan = BalancerPlan(
        desired,
        view,
        servers=servers,
        # Those that still use their former port or protocol are no new ones.
        joining=tuple(name for name in joining if name not in own.moving),
        leaving=leaving,
        marker=span.marker,
        findings=tuple(findings),
        peers=tuple(serving),
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


class _Members:
    """The servers of the fleet file as the load balancer may use them.

    Args:
        well: those that serve by then.
        renewed: those that were started with their new file by then.
    """

    def __init__(
        self, desired: CollabDesired, view: ClusterView, well: frozenset[str], renewed: frozenset[str]
    ) -> None:
        self.desired, self.view, self.well = desired, view, well
        nodes = desired.entry.nodes
        self.moving = {one.name for one in nodes if one.name not in renewed and view.is_moving(one)}
        """Servers whose process still uses another port or protocol than is desired."""
        self.named = {one.address if one.name in renewed else view.get_place(one): one.name for one in nodes}
        """`host:port` at which each listens -> its name."""

    def fits_protocol(self, name: str) -> bool:
        """Whether a server speaks what the others are to speak; files that say nothing of TLS may differ."""
        status, tls = self.view.get_status(name), self.desired.get_tls(name)
        return tls is not None or status is None or status.enable_tls in (None, self._wants_tls())

    def describe(self, name: str) -> str:
        """Why a server does not join, in words that follow its name."""
        if name not in self.well or self.fits_protocol(name):
            return self.view.describe(name)
        status = self.view.get_status(name)
        own = "speaks TLS" if status is not None and status.enable_tls else "speaks no TLS"
        return f"{own}, other than the servers that it uses; write `enableTls` into the committed config.json"

    def choose_leaving(self, upstream: tuple[str, ...], ready: list[str]) -> tuple[bool, frozenset[str]]:
        """Whether nginx is to speak TLS with the servers, and which ones it leaves out so that they may move.

        A server changes its port or its protocol while no client is sent to it, and half of those that are
        used at most leave at once. One `proxy_pass` cannot lead to servers with TLS and to others without it:
        when the first ones have moved, all others leave.
        """
        used = [self.named[one] for one in upstream if one in self.named]
        moving = [name for name in used if name in self.moving]
        settled = [*(name for name in used if name not in self.moving and name in self.well), *ready]
        wanted, current = self._wants_tls(), self._speaks_tls()
        if not moving:
            return wanted, frozenset()
        if wanted is not current:
            if settled:
                return wanted, frozenset(moving)
            wanted = current
        most = max(1, len(moving) // 2)
        going = moving[:most]
        if not settled and not any(name in self.well for name in moving[most:]):
            return wanted, frozenset()  # nobody else serves
        return wanted, frozenset(going)

    def _speaks_tls(self) -> bool:
        balancer = self.desired.entry.balancer
        assert balancer is not None
        try:
            scheme = read_scheme(self.view.balancer_file, balancer.upstream)
        except UnfitFile:
            scheme = ""
        return scheme == "https" if scheme else self._wants_tls()

    def _wants_tls(self) -> bool:
        """By the committed files, else by those of the machines, else as servers show it, else as it is."""
        nodes, balancer = self.desired.entry.nodes, self.desired.entry.balancer
        shown = [status.enable_tls for one in nodes if (status := self.view.get_status(one.name))]
        committed = [self.desired.get_tls(one.name) for one in nodes]
        for values in (committed, list(self.desired.file_tls.values()), shown):
            known = {one for one in values if one is not None}
            if len(known) == 1:
                return known.pop()
        assert balancer is not None
        try:
            return read_scheme(self.view.balancer_file, balancer.upstream) == "https"
        except UnfitFile:
            return False


def _choose_span(
    balancer: LoadBalancer, servers: tuple[str, ...], current: bytes | None, loaded: str, *, is_tls: bool
) -> NginxSpan:
    """The part of the file that is ours: the one that is there, or one with another marker than is loaded.

    Somebody may have edited the servers and left the marker: with the same one, a reload could not be seen.
    """
    spans = [make_span(balancer, servers, is_tls=is_tls, turn=turn) for turn in (0, 1)]
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
