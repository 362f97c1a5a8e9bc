"""What a plan must never do, found by walking through its steps once more.

The guards do not trust the planner: they start from the nodes' answers, follow each step to what it leaves,
and check the state before it. Each code can be named by an override in the fleet file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from reconciler.core.guard import Guard, GuardContext, guard
from reconciler.core.plan import Step
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.collab.arguments import (
    AddPasswordArguments,
    CollabArguments,
    DropPasswordArguments,
    ReloadArguments,
    RestartArguments,
    RestartRedisArguments,
    StartArguments,
    StopArguments,
    read_collab_arguments,
)
from reconciler.drivers.collab.cluster_view import ClusterView, list_services
from reconciler.drivers.collab.delivery import find_login_password
from reconciler.drivers.collab.schema import CollabDesired, CollabServer
from reconciler.file_delivery.steps import is_file_step
from reconciler.text.one_line import join_some

_MAX_NAMED = 3

_INTERRUPTING = (RestartArguments, StopArguments, RestartRedisArguments)


@dataclass
class _Walk:
    """The cluster as it is before the next step, if the steps so far had their effect."""

    view: ClusterView
    serving: set[str] = field(default_factory=set)
    upstream: set[str] = field(default_factory=set)
    renewed: set[str] = field(default_factory=set)

    def get_place(self, server: CollabServer) -> str:
        """`host:port` at which a server listens by then."""
        return server.address if server.name in self.renewed else self.view.get_place(server)

    def is_used(self, name: str) -> bool:
        """Whether a server serves and gets clients."""
        addresses = {one.name: self.get_place(one) for one in self.view.desired.entry.nodes}
        addresses |= {one.name: one.address for one in self.view.desired.former}
        return name in self.serving and addresses.get(name) in self.upstream

    def list_peers(self, name: str) -> list[str]:
        """Other servers that serve and get clients."""
        return [
            one.name
            for one in self.view.desired.entry.nodes
            if one.name != name and one.name in self.serving and self.get_place(one) in self.upstream
        ]

    def list_redis_users(self) -> list[str]:
        """Servers that serve, and that a restart of Redis may pause."""
        return [
            name for name in sorted(self.serving) if name in self.renewed or self.view.may_use_redis(name)
        ]

    def find_away(self) -> dict[str, list[str]]:
        """Service -> the servers that miss it and are not started anew before."""
        found = {
            service: [name for name in names if name not in self.renewed]
            for service, names in self.view.missing_services.items()
        }
        return {service: names for service, names in found.items() if names}

    def follow(self, own: CollabArguments) -> None:
        """Take the effect of a step into account."""
        match own:
            case RestartArguments() | StartArguments():
                server = self.view.desired.entry.server(own.server)
                if server is not None and own.server not in self.renewed and self.view.is_moving(server):
                    # It may listen at the same place and speak TLS now: clients do not reach it there.
                    self.upstream.discard(self.view.get_place(server))
                self.serving.add(own.server)
                self.renewed.add(own.server)
                if server is not None and not self.view.has_balancer_file:
                    self.upstream.add(server.address)
            case StopArguments():
                self.serving.discard(own.server)
            case ReloadArguments():
                entry = self.view.desired.entry
                names = {*own.joining, *own.remaining}
                self.upstream = {self.get_place(one) for one in entry.nodes if one.name in names}
            case _:
                pass


@guard("last-healthy-server")
def refuse_last_server(context: GuardContext) -> Iterator[Diagnostic]:
    """A server that serves is only interrupted while another one serves."""
    for walk, step, own in _walk(context):
        if not isinstance(own, RestartArguments | StopArguments) or not walk.is_used(own.server):
            continue
        if not walk.list_peers(own.server):
            yield _violation(
                context,
                step,
                "last-healthy-server",
                f"{step.id} would interrupt the last server that serves: nobody would be served",
                "restore or add another server first, or name this moment in an override",
            )


@guard("service-away")
def refuse_without_services(context: GuardContext) -> Iterator[Diagnostic]:
    """While Redis or the database is away, a server that serves is not restarted: all could be paused."""
    for walk, step, own in _walk(context):
        if not isinstance(own, RestartArguments) or not walk.is_used(own.server):
            continue
        away = walk.find_away()
        if own.server in walk.renewed or (not away and walk.view.is_redis_there):
            continue
        service, names = next(iter(sorted(away.items()))) if away else ("Redis Server", ["this host"])
        yield _violation(
            context,
            step,
            "service-away",
            f"{step.id} would restart a server that serves while {', '.join(names)} cannot reach "
            f"{list_services([service])}: it might come back paused",
            "restore the service first",
        )


@guard("servers-together")
def refuse_together(context: GuardContext) -> Iterator[Diagnostic]:
    """No two steps that interrupt a server run at the same time."""
    before: dict[str, frozenset[str]] = {}
    last = ""
    for step in context.plan.steps:
        reached = frozenset(step.after).union(*(before.get(name, frozenset()) for name in step.after))
        before[step.id] = reached
        if is_file_step(step) or not isinstance(read_collab_arguments(step), _INTERRUPTING):
            continue
        if last and last not in reached:
            yield _violation(
                context,
                step,
                "servers-together",
                f"{step.id} does not wait for {last}: two nodes would be interrupted at the same time",
                "report this as a defect of the program",
            )
        last = step.id


@guard("balancer-order")
def refuse_balancer_order(context: GuardContext) -> Iterator[Diagnostic]:
    """The load balancer is first when a server leaves, and last when one joins."""
    for walk, step, own in _walk(context):
        if isinstance(own, StopArguments):
            address = next((f.address for f in walk.view.desired.former if f.name == own.server), "")
            if address in walk.upstream or not address:
                yield _violation(
                    context,
                    step,
                    "balancer-order",
                    f"{step.id} would stop a server to which the load balancer still sends clients",
                    "let the load balancer forget the server first",
                )
        if isinstance(own, ReloadArguments):
            early = [name for name in own.joining if name not in walk.serving]
            if early:
                yield _violation(
                    context,
                    step,
                    "balancer-order",
                    f"{step.id} would send clients to {early[0]}, which does not serve",
                    "restore the server first, or remove it from the fleet file",
                )
            if not walk.serving.intersection(own.remaining):
                yield _violation(
                    context,
                    step,
                    "balancer-order",
                    f"{step.id} would leave the load balancer without a server that serves",
                    "restore a server first",
                )


@guard("password-order")
def refuse_password_order(context: GuardContext) -> Iterator[Diagnostic]:
    """Former passwords of Redis are valid until every server was started with the new one."""
    desired = context.desired
    assert isinstance(desired, CollabDesired)
    is_accepted: bool | None = None
    for walk, step, own in _walk(context):
        if is_accepted is None:
            redis = walk.view.redis
            needed = find_login_password(desired)
            is_accepted = (
                needed is None or bool(needed.missing) or redis is None or redis.accepts is not False
            )
        if isinstance(own, AddPasswordArguments | RestartRedisArguments):
            # The file with which it is started has the new password.
            is_accepted = True
        if isinstance(own, RestartArguments) and own.password and not is_accepted:
            yield _violation(
                context,
                step,
                "password-order",
                f"{step.id} would start a server with a password that Redis does not accept",
                "let Redis accept the new password first",
            )
        if isinstance(own, DropPasswordArguments):
            for server in desired.entry.nodes:
                status = walk.view.get_status(server.name)
                is_new = status is not None and status.start != own.outdated.get(server.name, "")
                if server.name not in walk.renewed and not is_new:
                    yield _violation(
                        context,
                        step,
                        "password-order",
                        f"{step.id} would drop a password that {server.name} may still use",
                        "restart the server with the new password first",
                    )


@guard("redis-restart")
def refuse_unannounced_redis_restart(context: GuardContext) -> Iterator[Diagnostic]:
    """A restart of Redis pauses every server that works with it: it needs a change window, or an approval."""
    if context.change_rules.windows or {"high", "restart"} & set(context.policy.approve):
        return
    for walk, step, own in _walk(context):
        if isinstance(own, RestartRedisArguments) and (users := walk.list_redis_users()):
            yield _violation(
                context,
                step,
                "redis-restart",
                f"{step.id} pauses {join_some(users, _MAX_NAMED)}, and the cluster has neither change "
                "windows nor approvals",
                "add `windows` to the cluster, or `approve: [high]` to its policy",
            )


@guard("balancer-unchecked")
def refuse_unchecked_file(context: GuardContext) -> Iterator[Diagnostic]:
    """An nginx file that nobody has checked is not loaded."""
    desired = context.desired
    assert isinstance(desired, CollabDesired)
    for _, step, own in _walk(context):
        if isinstance(own, ReloadArguments) and own.entry in desired.unchecked:
            yield _violation(
                context,
                step,
                "balancer-unchecked",
                f"{step.id} would load a file that nobody has checked: `files.{own.entry}` of the host "
                "configuration has no `check`",
                f"add a `check` that runs `nginx -t` to `files.{own.entry}`",
            )


GUARDS: tuple[Guard, ...] = (
    refuse_last_server,
    refuse_without_services,
    refuse_together,
    refuse_balancer_order,
    refuse_password_order,
    refuse_unannounced_redis_restart,
    refuse_unchecked_file,
)


def _walk(context: GuardContext) -> Iterator[tuple[_Walk, Step, CollabArguments]]:
    """Each step that is not about a file, with the state before it."""
    desired = context.desired
    assert isinstance(desired, CollabDesired)
    view = ClusterView(desired, context.observed)
    names = {*(one.name for one in desired.entry.nodes), *(one.name for one in desired.former)}
    walk = _Walk(view, set(filter(view.is_healthy, names)), set(view.upstream or ()))
    for step in context.plan.steps:
        if is_file_step(step):
            continue
        own = read_collab_arguments(step)
        yield walk, step, own
        walk.follow(own)


def _violation(context: GuardContext, step: Step, code: str, message: str, remedy: str) -> Diagnostic:
    target = f"{context.plan.cluster}/{step.node}"
    return Diagnostic(Severity.ERROR, code, message, remedy, target=target)
