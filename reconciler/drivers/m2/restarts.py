"""Which nodes are restarted so that their restart-only fields take effect, and how that is undone; pure.

A restart is proven by the text of the node's last start, which a command of the host reads, and by what the
node shows afterwards. Without that text nothing is restarted: the command could be run again and again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urlsplit

from reconciler.core.command_reference import NamedCommand, fill_node_command
from reconciler.core.observation import Observed, Present
from reconciler.core.plan import Effect, Inverse, Payload, Risk, Step
from reconciler.core.secret import mask
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.m2.arguments import RESTART, RestartArguments, read_restart
from reconciler.drivers.m2.findings import WAITS
from reconciler.drivers.m2.redacted_fingerprints import RedactedFingerprints
from reconciler.drivers.m2.risk import find_restart_fields
from reconciler.drivers.m2.schema import Content, LoadedSetting, M2Desired, NodeTarget
from reconciler.drivers.m2.setting.diagnostics import get_named_items, get_value
from reconciler.secrets.redaction import hide_by_key
from reconciler.text.json_pointer import make_pointer
from reconciler.text.one_line import join_some

_MAX_NAMED: Final = 3
_MOST_WAITING: Final = 10


def find_fields_to_bring_in(
    loaded: LoadedSetting, after: Content, *, is_delivered: bool
) -> tuple[str, ...] | None:
    """The fields that wait for a restart, or will once a setting is delivered; None where that is unknown.

    Args:
        loaded: what the node shows.
        after: the setting that it should have.
        is_delivered: whether this setting is delivered first.
    """
    if loaded.waiting is None:
        return None
    # Of what is in effect, and not of what was delivered last: a field that goes back waits no more.
    return find_restart_fields(loaded.in_effect, after) if is_delivered else loaded.waiting


def list_start_readings(
    desired: M2Desired, observed: Observed[LoadedSetting]
) -> Mapping[str, Mapping[str, str]]:
    """Node -> placeholders of the command that reads its last start, for nodes that may be restarted."""
    restart = desired.entry.restart
    if restart is None:
        return {}
    found = {}
    for target in desired.targets:
        answer = observed.nodes.get(target.node)
        if not isinstance(answer, Present):
            continue
        # A node on which nothing waits, or will, is not asked: each reading is a program on its machine.
        is_new = not answer.value.shows(desired.expected(target.content))
        if answer.value.waiting or (is_new and find_restart_fields(answer.value.in_effect, target.content)):
            found[target.node] = _fill(restart.started, target, answer.value)
    return found


def _fill(command: NamedCommand, target: NodeTarget, loaded: LoadedSetting) -> dict[str, str]:
    """Placeholder -> text. A node that polls and has no address has no host: then `{node}` has to do."""
    base = loaded.base or next(iter(target.bases), "")
    host = (urlsplit(base).hostname if base else "") or ""
    found = fill_node_command(command, target.node, host)
    return found if host else {key: text for key, text in found.items() if key != "host"}


@dataclass(slots=True)
class RestartPlanner:
    """Plans the restarts of one cluster.

    Args:
        fingerprints: redacted ones, for the plan.
    """

    desired: M2Desired
    observed: Observed[LoadedSetting]
    fingerprints: RedactedFingerprints
    _serving: dict[str, int] | None = field(init=False, default=None)
    _hostings: dict[int, tuple[Content, tuple[str, ...]]] = field(init=False, default_factory=dict)

    def plan(self, target: NodeTarget, loaded: LoadedSetting, delivery: Step | None) -> Step | None:
        """The restart of one node; None where nothing waits, or where it could not be proven.

        Args:
            target: what the node should have.
            loaded: what it shows.
            delivery: the step before it in the same plan; None if the node has its setting.
        """
        entry = self.desired.entry
        fields = find_fields_to_bring_in(loaded, target.content, is_delivered=delivery is not None)
        started = self.observed.starts.get(target.node, "")
        if entry.restart is None or not fields or not started:
            return None
        polling, expected = entry.polling, self.desired.expected(target.content)
        redacted = self.fingerprints.of(target.content)
        bases = tuple(dict.fromkeys(filter(None, [loaded.base, *target.bases])))
        if delivery is not None:
            # Where the delivery may move it to, too.
            bases = getattr(delivery.arguments, "bases", bases)
        risk, why = self._assess(target.node, loaded)
        arguments = RestartArguments(
            bases=bases,
            addresses=(urlsplit(bases[0]).hostname,) if bases else (),
            after=expected.fingerprint,
            unstamped=expected.unstamped,
            fields=fields,
            setting_version=mask(
                hide_by_key("version", get_value(target.content.canonical, ("meta", "version")))
            ),
            started=started,
            command=entry.restart.command,
            values=_fill(entry.restart, target, loaded),
            started_command=entry.restart.started.command,
            started_values=_fill(entry.restart.started, target, loaded),
            timeout=entry.timeouts.read,
            connect=entry.timeouts.connect,
            fresh=polling.fresh_seconds if polling is not None else 0,
            unmanaged=tuple(make_pointer(pattern) for pattern in target.unmanaged),
            shown={"after": redacted, "unstamped": redacted if expected.unstamped else ""},
        )
        return Step(
            id=f"{entry.name}/{target.node}/{RESTART}",
            cluster=entry.name,
            node=target.node,
            action=RESTART,
            arguments=arguments,
            reason=f"{join_some(fields, _MAX_NAMED)} takes effect only at a restart: run the host's command "
            f"{entry.restart.command}",
            effect=Effect.RESTART,
            risk=risk,
            risk_reason=why,
            needs="the node shows its setting, something of it waits for a restart, and the node was not "
            "started since the plan was made",
            inverse=Inverse("deliver the previous setting, then restart the node again", RESTART)
            if delivery is not None
            else Inverse("point of no return: what was in effect before is not in the fleet"),
            after=(delivery.id,) if delivery is not None else (),
            settle=entry.timeouts.settle,
            in_flight=entry.timeouts.in_flight,
        )

    def report_left(
        self, target: NodeTarget, loaded: LoadedSetting, *, is_delivered: bool
    ) -> Iterator[Diagnostic]:
        """That something waits for a restart, or will, where no step of the plan restarts the node."""
        entry = self.desired.entry
        restart = entry.restart
        fields = loaded.waiting or ()
        if restart is not None:
            fields = find_fields_to_bring_in(loaded, target.content, is_delivered=is_delivered) or ()
        if not fields:
            return
        names = join_some(fields, _MOST_WAITING)
        message = f"{target.node} waits for a restart, at which {names} takes effect"
        remedy = (
            "restart it at a convenient time, or let the cluster name a `restart` command of the host, which "
            "brings it in"
        )
        if restart is not None:
            if is_delivered:
                message = f"after the change {target.node} waits for a restart, at which {names} takes effect"
            message += (
                f"; it is not restarted, because when it was started last cannot be read by "
                f"{restart.started.command}"
            )
            remedy = (
                "restart it by hand, or correct `commands` in the host configuration: a node that this host "
                "does not reach is restarted by a person"
            )
        yield Diagnostic(
            Severity.NOTE if restart is None else Severity.WARNING,
            WAITS,
            message,
            remedy,
            target=f"{entry.name}/{target.node}",
        )

    def _assess(self, node: str, loaded: LoadedSetting) -> tuple[Risk, str]:
        """Risk of the restart, by what the node serves, and why."""
        names = self._list_hostings(loaded.content)
        if not names:
            return Risk.LOW, "it serves no virtual host"
        serving = self._count_serving()
        alone = [name for name in names if serving.get(name, 0) < 2]  # noqa: PLR2004  (another one beside it)
        if alone:
            return (
                Risk.HIGH,
                f"until {node} is back, no other node of the cluster serves {join_some(alone, _MAX_NAMED)}",
            )
        return Risk.MEDIUM, "until it is back, other nodes serve its virtual hosts"

    def _count_serving(self) -> Mapping[str, int]:
        """Virtual host -> number of nodes that answer and serve it."""
        if self._serving is None:
            self._serving = {}
            for node, loaded in self.observed.present().items():
                if node in self.observed.reserved:
                    continue  # somebody may stop it at any moment
                for name in self._list_hostings(loaded.content):
                    self._serving[name] = self._serving.get(name, 0) + 1
        return self._serving

    def _list_hostings(self, content: Content) -> tuple[str, ...]:
        # By identity: equal answers share one object, and the cache keeps it.
        if id(content) not in self._hostings:
            self._hostings[id(content)] = content, list_served_hostings(content)
        return self._hostings[id(content)][1]


def list_served_hostings(content: Content) -> tuple[str, ...]:
    """Names of the virtual hosts that a node with this setting serves."""
    return tuple(
        name
        for _, name, item in get_named_items(content.document, "hosting")
        if item.get("enable", True) is not False and item.get("listen") != "off"
    )


def list_restarts(steps: Iterable[Step]) -> tuple[Step, ...]:
    """The steps that restart a node."""
    return tuple(step for step in steps if step.action == RESTART)


def complete_restart(step: Step, desired: M2Desired) -> Step:
    """A restart from a plan file with its exact fingerprints, where the desired state matches it."""
    own = read_restart(step)
    target = next((one for one in desired.targets if one.node == step.node), None)
    if own.shown or target is None:
        return step
    if RedactedFingerprints(desired.earlier).of(target.content) != own.after:
        return step
    expected = desired.expected(target.content)
    return replace(step, arguments=own.completed(expected.fingerprint, expected.unstamped))


def undo_restart(
    step: Step, observed: Observed[LoadedSetting], shown: Observed[LoadedSetting]
) -> tuple[Step, Mapping[str, Payload]] | None:
    """The restart that brings the former values back once the former setting is delivered; None for none.

    Args:
        step: the restart.
        observed: what the node showed when it was planned.
        shown: what the node shows now.
    """
    before, now = observed.present().get(step.node), shown.present().get(step.node)
    started = shown.starts.get(step.node, "")
    # Without a delivery in the same plan, nothing delivers what was in effect before. A node that does not
    # answer gets no former setting either, and a restart that could not be proven is not made.
    if not step.after or before is None or now is None or not started:
        return None
    own = read_restart(step)
    arguments = replace(
        own,
        after=before.content.fingerprint,
        unstamped="",
        started=started,
        returning=True,
        shown={"after": f"before {own.plain()['after']}", "unstamped": ""},
    )
    reason = f"{step.node} is to use its former setting again"
    return replace(step, arguments=arguments, reason=reason), {}
