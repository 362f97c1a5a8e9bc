"""From the desired cluster and its nodes' answers to the steps between them; pure, the same every time.

All steps are one chain: each waits for the one before it, so that a step which fails, or whose effect is
not seen, stops everything after it. The order, and why no other one is safe:

1. **Redis accepts its new password beside the former ones** (`add-redis-password`): by ACL, then CONFIG
   REWRITE, and both are read back: by AUTH, and by the file that the next start will read. A kill between
   the two leaves a password that is valid until Redis restarts; the step is not done yet, so that the next
   run writes it down. From here on every server is let in, whichever password its file has, also after a
   restart of Redis.
2. **redis.conf and the restart of Redis**, if a change needs one and no password is being changed: the file
   has the new password alone, which would lock out servers that use the former one. All servers are paused
   by it, so that it has a high risk, needs an answer of every server, and comes before anything that needs
   Redis.
3. **Servers that do not serve**: those that do not run get their file and are started; those that are
   paused and whose file changes the way to what they miss are restarted, and so are those that work and
   that the load balancer does not use yet. They cost nobody anything, and
   whatever they lack is evidence that a service is away, which holds back every server that serves.
4. **The load balancer gets new servers**, once they are healthy. Last when adding: a server that does not
   serve would get clients. If nothing joins, its change comes after 5, so that a server that leaves still
   serves while another one is restarted.
5. **Servers that serve are restarted one by one**, each only while another one serves that the load
   balancer uses, while no service is away, and while no other server of the cluster is away: the file may
   be why that one does not come back, and would take the cluster down one server after the other. Until
   then they keep their former file, since anybody's restart would bring it in.
6. **The load balancer loses servers** that the fleet file does not name any more. First when removing: only
   then they are drained (no client left, or the drain time over) and stopped.
7. **Redis drops former passwords** (`drop-redis-password`), once every server has been started with the new
   one: known by its start, which is another one than that at the change of its file. By ACL, then CONFIG
   REWRITE; a kill between the two leaves the former passwords valid after the next restart, and this step
   to be done again.

Nothing is assumed of a node that does not answer: it is neither healthy nor stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Any, Final

from reconciler.core.canonical import fingerprint
from reconciler.core.missing_secrets import report_missing_secrets
from reconciler.core.observation import Observed
from reconciler.core.plan import ClusterPlan, Payload, Step
from reconciler.core.secret import reveal
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.collab import steps
from reconciler.drivers.collab.balancer_plan import BalancerPlan, find_balancer_plan
from reconciler.drivers.collab.cluster_view import ClusterView
from reconciler.drivers.collab.delivery import (
    add_file_tls,
    find_fixed_services,
    find_login_password,
    list_missing_secrets,
    plan_config,
)
from reconciler.drivers.collab.facts import INTERRUPTED, OUTDATED, RESTARTED_FOR, STARTED, STOPPED
from reconciler.drivers.collab.preconditions import RestartCase, find_restart_obstacle
from reconciler.drivers.collab.redis_plan import (
    PasswordChange,
    find_password_change,
    plan_redis_file,
    report_later_file,
)
from reconciler.drivers.collab.released_keys import report_kept_keys
from reconciler.drivers.collab.schema import CollabDesired, CollabServer
from reconciler.drivers.collab.status_view import StatusView
from reconciler.drivers.collab.views import CollabView
from reconciler.file_delivery.steps import FilePlan

_SHOWN: Final = {"scaling": "scaling", "logging": "logging", "enableTls": "enable_tls"}
"""Key of config.json -> field of `StatusView`: what a running server shows of its file."""


def plan(desired: CollabDesired, observed: Observed[CollabView]) -> ClusterPlan:
    """The steps of one cluster, as one chain; see the module."""
    view = ClusterView(desired, observed)
    desired = replace(add_file_tls(desired, observed), former_urls=view.former_urls)
    chain = _Chain(desired, replace(view, desired=desired))
    chain.plan()
    entry = desired.entry
    changed = {step.node for step in chain.steps}
    members = [node.name for node in entry.members()]
    findings = sorted(chain.findings, key=lambda one: (one.target, one.code, one.message))
    return ClusterPlan(
        cluster=entry.name,
        kind=entry.kind,
        nodes=len(members),
        unchanged=sum(
            name not in changed and f"{entry.name}/{name}" not in chain.targets for name in members
        ),
        steps=tuple(chain.steps),
        findings=tuple(findings),
        concurrency=1,
        payloads=chain.payloads,
    )


def find_unused_values(desired: CollabDesired, server: str, status: StatusView) -> Iterator[str]:
    """What a running server shows otherwise than its config.json says, in words."""
    for key, name in _SHOWN.items():
        wanted, shown = reveal(desired.configs.get(server, {}).get(key)), getattr(status, name)
        if wanted is not None and shown is not None and shown != wanted:
            yield f"{key} is {_show(shown)} in place of {_show(wanted)}"


def fingerprint_shown(desired: CollabDesired, server: str) -> str:
    """Fingerprint of the values that a server shows, as desired."""
    values = desired.configs.get(server, {})
    return fingerprint({key: reveal(values.get(key)) for key in _SHOWN})[:16]


@dataclass
class _Chain:
    """The chain of steps while it is made, and what the cluster is expected to be after them.

    Args:
        well: servers that serve after the steps so far, if these succeed.
        upstream: `host:port` of the servers that the load balancer uses then; None if not known.
        renewed: servers that were started with their new file by then.
    """

    desired: CollabDesired
    view: ClusterView
    steps: list[Step] = field(default_factory=list)
    payloads: dict[str, Payload] = field(default_factory=dict)
    findings: list[Diagnostic] = field(default_factory=list)
    well: set[str] = field(default_factory=set)
    upstream: tuple[str, ...] | None = None
    renewed: set[str] = field(default_factory=set)
    _files: dict[str, FilePlan] = field(default_factory=dict)

    def plan(self) -> None:
        """Add all steps, in the order of the module."""
        desired, view = self.desired, self.view
        self.upstream = view.upstream
        self.well = {server.name for server in desired.entry.nodes if view.is_healthy(server.name)}
        self._files = {
            server.name: plan_config(desired, view.observed, server, self._get_started(server.name))
            for server in desired.entry.nodes
        }
        password = find_password_change(desired, view)
        self.findings += password.findings
        self._add_all(password.add)
        if password.is_running:
            self.findings += report_later_file(desired, view)
        else:
            found = plan_redis_file(desired, view)
            self.findings += found.findings
            self._add_file(found.file)
            self._add_all(found.restart)
        idle = [server for server in desired.entry.nodes if server.name not in self.well]
        serving = [server for server in desired.entry.nodes if server.name in self.well]
        for server in idle:
            self._plan_idle(server, password)
        unused = [server for server in serving if self._is_unused(server)]
        for server in unused:
            self._plan_unused(server, password)
        balancer = self._plan_used([server for server in serving if server not in unused], password)
        for stop in balancer.make_stops(frozenset(self.well)):
            self._add(stop)
        self._drop_password(password, balancer)
        self.findings += self._compare_versions()
        self.findings += report_kept_keys(desired, view.observed)
        self.findings += report_missing_secrets(desired.entry.name, list_missing_secrets(desired))

    def _plan_used(self, serving: list[CollabServer], password: PasswordChange) -> BalancerPlan:
        """The load balancer, and the servers that serve and that it uses."""
        moving = [server for server in serving if self._is_moving(server)]
        balancer = self._find_balancer_plan()
        is_early = bool(balancer.joining or moving)
        if is_early:
            self._add_balancer(balancer)
        for server in serving:
            if server in moving:
                self._plan_moving(server, password)
            else:
                self._plan_serving(server, password)
        if not is_early:
            if self.renewed:  # a server that is alone may have moved in its place
                balancer = self._find_balancer_plan()
            self._add_balancer(balancer)
        self.findings += balancer.findings
        return balancer

    @property
    def targets(self) -> frozenset[str]:
        """The nodes that findings are about."""
        return frozenset(one.target for one in self.findings if one.severity is not Severity.NOTE)

    def _plan_idle(self, server: CollabServer, password: PasswordChange) -> None:
        """A server that does not serve: nobody is harmed by its restart."""
        name, view = server.name, self.view
        file_plan, status = self._files[name], view.get_status(name)
        self.findings += file_plan.findings
        if name in view.observed.reserved:
            is_well = status is not None and status.is_healthy and not file_plan.is_changed
            if status is None or not is_well or self._find_restart_reason(server, status):
                words = "is reserved or held, so it is left alone until that is over"
                self._wait(name, "server-waits", words)
        elif status is None and not view.is_silent(name):
            # It may run and serve: nothing is known of it, so nothing is done to it.
            seen = getattr(view.observed.nodes.get(name), "remedy", "")
            remedy = seen or "correct its `status` or the network, or stop the server"
            self._wait(name, "server-unknown", f"{view.describe(name)}: nothing is done to it", remedy)
        elif status is None:
            self._plan_start(server, password)
        elif status.is_healthy:
            self._wait(name, "server-waits", view.describe(name))
        else:
            self._plan_paused(server, status, password)

    def _plan_start(self, server: CollabServer, password: PasswordChange) -> None:
        name = server.name
        if self.desired.recall(name, STARTED) and not self._was_stopped_by_us(name):
            words = f"{self.view.describe(name)}, and has run before: who stopped it has to start it"
            self._wait(name, "server-waits", words, "start it, or look at its log if it has crashed")
            return
        if not self.view.is_redis_there:
            words = "is not started: Redis does not answer, so it would be paused"
            self._wait(name, "server-waits", words, "start Redis first")
            return
        if self._is_locked_out(password):
            self._wait(name, "server-waits", "is not started: Redis does not accept its password yet")
            return
        if self._files[name].findings:
            return
        self._add_file(self._files[name])
        self._add(steps.make_start(self.desired, server))
        self.well.add(name)
        self.renewed.add(name)

    def _was_stopped_by_us(self, name: str) -> bool:
        """Whether a server that has run before may be down because of a run of this host.

        Silence proves no stop: any other one may run where this host does not reach it, or somebody has
        stopped it on purpose.
        """
        started = self.desired.recall(name, STARTED)
        if started in (self.desired.recall(name, INTERRUPTED), self.desired.recall(name, STOPPED)):
            return True
        if started != self.desired.recall(name, OUTDATED):
            return False
        was_restarted = self.desired.recall(name, RESTARTED_FOR) == fingerprint_shown(self.desired, name)
        return self._files[name].is_changed or not was_restarted

    def _plan_paused(self, server: CollabServer, status: StatusView, password: PasswordChange) -> None:
        name = server.name
        fixes = find_fixed_services(self.desired, self.view.observed, server)
        file_plan, why = self._files[name], self._find_restart_reason(server, status)
        heals = not why and self._stays_paused(status)
        if heals:
            why = "stays paused although Redis is there"
        case = replace(
            self._make_case(server, status, password, fixes),
            is_serving=False,
            heals=heals,
            # The file may have been switched by an earlier run: what its change fixes shows no more.
            fixes=fixes if file_plan.is_changed else frozenset(status.missing_services),
        )
        if not why:
            words = f"{self.view.describe(name)}, and its config.json is as desired"
            self._wait(name, "server-paused", words, "restore what it misses: it serves again by itself")
            return
        obstacle = find_restart_obstacle(case)
        if obstacle:
            self._wait(
                name, "server-restart-waits", f"{self.view.describe(name)} and is not restarted: {obstacle}"
            )
            return
        self._add_file(file_plan)
        self._add_restart(server, status, why, heals=heals, fixes=case.fixes)
        self.well.add(name)

    def _find_balancer_plan(self) -> BalancerPlan:
        return find_balancer_plan(self.desired, self.view, frozenset(self.well), frozenset(self.renewed))

    def _get_place(self, server: CollabServer) -> str:
        """`host:port` at which a server listens after the steps so far."""
        return server.address if server.name in self.renewed else self.view.get_place(server)

    def _is_unused(self, server: CollabServer) -> bool:
        """Whether the load balancer does not use a server that works: nobody is harmed by its restart."""
        upstream = self.view.upstream
        if upstream is None or self.view.get_place(server) in upstream:
            return False
        # Until it has loaded its file, it may use servers that are not in it any more.
        return self.view.balancer is None or self.view.is_balancer_loaded

    def _is_moving(self, server: CollabServer) -> bool:
        """Whether a server is to use another port or protocol, and others can serve meanwhile."""
        has_balancer = self.desired.entry.balancer is not None
        return has_balancer and not self._is_alone(server) and self.view.is_moving(server)

    def _plan_moving(self, server: CollabServer, password: PasswordChange) -> None:
        """A server that gets another port or protocol: once the load balancer does not use it any more."""
        name, balancer = server.name, self.desired.entry.balancer
        assert balancer is not None
        if balancer.file is None:
            words = (
                "gets another port or TLS and is not restarted: the file of the load balancer is not managed"
            )
            remedy = "add `file` to `loadBalancer`, or change both by hand"
            self._wait(name, "server-restart-waits", words, remedy)
        elif self.upstream is not None and self._get_place(server) not in self.upstream:
            self._plan_unused(server, password)
        elif any(self._get_place(one) in (self.upstream or ()) for one in self._list_others(server)):
            self.findings.append(
                Diagnostic(
                    Severity.WARNING,
                    "server-moves-later",
                    f"{name} gets its other port or TLS in a later run: until others have moved, it serves",
                    "nothing, if the watch runs; otherwise run it again",
                    target=f"{self.desired.entry.name}/{name}",
                )
            )
        else:
            words = "gets another port or TLS and is not restarted: no other server serves"
            self._wait(name, "server-restart-waits", words)

    def _list_others(self, server: CollabServer) -> Iterator[CollabServer]:
        return (one for one in self.desired.entry.nodes if one.name != server.name and one.name in self.well)

    def _plan_unused(self, server: CollabServer, password: PasswordChange) -> None:
        """A server that is about to join: it gets its file and is restarted before it gets clients."""
        name, status = server.name, self.view.get_status(server.name)
        assert status is not None
        file_plan, why = self._files[name], self._find_restart_reason(server, status)
        self.findings += file_plan.findings
        if not why:
            for step in file_plan.steps:  # what a killed run left beside the file
                self._add(step)
            return
        case = replace(self._make_case(server, status, password, frozenset()), is_serving=False)
        obstacle = find_restart_obstacle(case)
        if obstacle:
            self._wait(name, "server-restart-waits", f"{why} and is not restarted: {obstacle}")
            self.well.discard(name)
            return
        self._add_file(file_plan)
        self._add_restart(server, status, why, is_unused=True)

    def _plan_serving(self, server: CollabServer, password: PasswordChange) -> None:
        """A server that serves: it gets its file and is restarted, or keeps both until that is safe."""
        name, status = server.name, self.view.get_status(server.name)
        assert status is not None
        file_plan, why = self._files[name], self._find_restart_reason(server, status)
        self.findings += file_plan.findings
        unused = "; ".join(find_unused_values(self.desired, name, status))
        if not why:
            if unused and not file_plan.findings:
                self._report_unused(name, unused)
            for step in file_plan.steps:  # what a killed run left beside the file
                self._add(step)
            return
        obstacle = self._find_serving_obstacle(server, status, password)
        if obstacle:
            words = f"{why} and is not restarted: {obstacle}"
            self._wait(name, "server-restart-waits", words)
            return
        self._add_file(file_plan)
        self._add_restart(server, status, why)

    def _find_serving_obstacle(
        self, server: CollabServer, status: StatusView, password: PasswordChange
    ) -> str:
        entry, name = self.desired.entry, server.name
        away = [one.name for one in entry.nodes if one.name != name and one.name not in self.well]
        if away:
            words = f"{away[0]} {self.view.describe(away[0])}"
            return (
                words if away[0] in self.view.observed.reserved else f"{words}, and the same file may be why"
            )
        if self.upstream is None:
            return "the file of the load balancer cannot be read, so it is not known who serves"
        fixes = find_fixed_services(self.desired, self.view.observed, server)
        return find_restart_obstacle(self._make_case(server, status, password, fixes))

    def _make_case(
        self,
        server: CollabServer,
        status: StatusView,
        password: PasswordChange,
        fixes: frozenset[str],
    ) -> RestartCase:
        # Whoever misses a service and is restarted before has it by then; the judgement before the call
        # reads that again.
        missing = {
            service: names
            for service, all_names in self.view.missing_services.items()
            if (names := tuple(one for one in all_names if one not in self.well))
        }
        return RestartCase(
            is_serving=True,
            missing=frozenset(status.missing_services),
            fixes=fixes,
            serving_peers=self._list_peers(server.name),
            needs_peer=not self._is_alone(server),
            missing_elsewhere=missing,
            is_redis_there=self.view.is_redis_there,
            accepts_password=False if self._is_locked_out(password) else None,
        )

    def _is_locked_out(self, password: PasswordChange) -> bool:
        """Whether Redis would not let in a server with its new file, after the steps so far."""
        return password.is_needed and not password.add and not password.is_accepted

    def _is_alone(self, server: CollabServer) -> bool:
        """Whether the fleet file names this server alone: then nobody can serve in its place."""
        return [one.name for one in self.desired.entry.nodes] == [server.name]

    def _list_peers(self, name: str) -> tuple[str, ...]:
        """Other servers that serve after the steps so far."""
        used = self.upstream or ()
        is_known = self.view.has_balancer_file
        return tuple(
            sorted(
                one.name
                for one in self.desired.entry.nodes
                if one.name != name
                and one.name in self.well
                and (not is_known or self._get_place(one) in used)
            )
        )

    def _find_restart_reason(self, server: CollabServer, status: StatusView) -> str:
        """Why a running server needs a restart, in words that follow its name; empty if it does not."""
        name = server.name
        if self._files[name].is_changed:
            return "gets a changed config.json"
        if self._files[name].findings:
            return ""
        if status.start == self.desired.recall(name, OUTDATED):
            return "still uses its former config.json"
        unused = "; ".join(find_unused_values(self.desired, name, status))
        if unused and self.desired.recall(name, RESTARTED_FOR) != fingerprint_shown(self.desired, name):
            return f"does not use its config.json ({unused})"
        return ""

    def _stays_paused(self, status: StatusView) -> bool:
        """Whether a server lacks Redis alone, which answers and accepts its password."""
        lacks_redis_alone = status.lacks_redis and len(status.missing_services) == 1
        redis = self.view.redis
        return lacks_redis_alone and redis is not None and not redis.is_loading and redis.accepts is not False

    def _get_started(self, name: str) -> str:
        status = self.view.get_status(name)
        # Of one that does not answer, the last start that it showed: it may run all the same.
        return status.start if status is not None else self.desired.recall(name, STARTED)

    def _add_restart(
        self,
        server: CollabServer,
        status: StatusView,
        why: str,
        *,
        heals: bool = False,
        is_unused: bool = False,
        fixes: AbstractSet[str] | None = None,
    ) -> None:
        if fixes is None:
            fixes = find_fixed_services(self.desired, self.view.observed, server)
        password = find_login_password(self.desired)
        needs_peer = status.is_healthy and not is_unused and not self._is_alone(server)
        step = steps.make_restart(
            self.desired,
            server,
            status,
            why=why,
            fixes=fixes,
            peers=self._list_peers(server.name) if needs_peer else (),
            heals=heals,
            is_unused=is_unused,
            password=str(password.value) if password is not None and not password.missing else "",
            shown=fingerprint_shown(self.desired, server.name),
            digest=self._files[server.name].digest or "",
        )
        self._add(step)
        self.renewed.add(server.name)

    def _add_balancer(self, balancer: BalancerPlan) -> None:
        self._add_file(balancer.file)
        self._add_all(balancer.reload)
        if balancer.reload is not None:
            self.upstream = balancer.servers

    def _drop_password(self, password: PasswordChange, balancer: BalancerPlan) -> None:
        """Add the last step of a change of the password, if every server uses the new one by then."""
        if not password.needs_drop or (password.is_needed and not password.add and not password.is_accepted):
            return
        waiting = [one.name for one in self.desired.entry.nodes if not self._uses_new_file(one)]
        waiting += balancer.list_running()
        if waiting:
            redis = self.desired.entry.redis
            assert redis is not None
            words = f"still accepts former passwords: {', '.join(waiting)} may use one"
            self._wait(redis.name, "password-waits", words)
            return
        outdated = {
            one.name: self._get_started(one.name)
            if one.name in self.renewed
            else self.desired.recall(one.name, OUTDATED)
            for one in self.desired.entry.nodes
        }
        self._add_all(password.make_drop(outdated))

    def _uses_new_file(self, server: CollabServer) -> bool:
        """Whether a server uses its new file after the steps so far."""
        name, status = server.name, self.view.get_status(server.name)
        if name in self.renewed:
            return True
        if status is None or self._files[name].digest is None or self._files[name].is_changed:
            return False
        return status.start != self.desired.recall(name, OUTDATED)

    def _compare_versions(self) -> Iterator[Diagnostic]:
        entry = self.desired.entry
        shown = {
            server.name: status.version
            for server in entry.nodes
            if (status := self.view.get_status(server.name)) is not None
        }
        for name, version in shown.items():
            if entry.version is not None and version != entry.version:
                yield Diagnostic(
                    Severity.ERROR,
                    "version-differs",
                    f"{name} has version {version} in place of {entry.version}",
                    "install that version, or correct `version`: this program installs none",
                    target=f"{entry.name}/{name}",
                )
        if entry.version is None and len(set(shown.values())) > 1:
            listed = ", ".join(f"{name} {version}" for name, version in sorted(shown.items()))
            yield Diagnostic(
                Severity.WARNING,
                "version-skew",
                f"the servers of {entry.name} have different versions: {listed}",
                "install one version on all servers",
                target=entry.name,
            )

    def _report_unused(self, name: str, words: str) -> None:
        if self.desired.recall(name, RESTARTED_FOR) == fingerprint_shown(self.desired, name):
            words = f"does not use its config.json, although it was restarted with it: {words}"
            self._wait(name, "config-not-used", words, "look at the log of the server")

    def _wait(self, name: str, code: str, words: str, remedy: str = "") -> None:
        """Add the finding that something is not done about a node."""
        target = f"{self.desired.entry.name}/{name}"
        remedy = remedy or "remove the cause; the next run continues from there"
        self.findings.append(Diagnostic(Severity.ERROR, code, f"{name} {words}", remedy, target=target))

    def _add_file(self, file_plan: FilePlan) -> None:
        for step in file_plan.steps:
            self._add(step)
        self.payloads |= file_plan.payloads

    def _add_all(self, found: tuple[Step, Mapping[str, Payload]] | None) -> None:
        if found is not None:
            self._add(found[0])
            self.payloads |= found[1]

    def _add(self, step: Step) -> None:
        last = self.steps[-1].id if self.steps else ""
        after = (*step.after, last) if last and last not in step.after else step.after
        self.steps.append(replace(step, after=after))


def _show(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
