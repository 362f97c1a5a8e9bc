"""The fake product with nodes that poll: offers, polls and reports go through a real store."""

import json
from dataclasses import dataclass, field, replace
from datetime import timedelta

from reconciler.core.canonical import fingerprint
from reconciler.core.observation import (
    Liveness,
    NodeReport,
    Observed,
    ReportKind,
    Unreachable,
    classify_by_age,
)
from reconciler.core.offers import OfferFeed, PollAnswer, decide_poll
from reconciler.core.plan import Effect, Inverse, Payload, Risk, Step
from reconciler.core.step_status import StepStatus, StepVerdict
from reconciler.guards.change_control import find_hiding_holds
from reconciler.planning.plan_pass import run_plan_pass
from reconciler.ports.driver import Capabilities, StepAnswer
from reconciler.ports.node_store import CallRecord
from reconciler.ports.transport import OfferDraft, TransportKind, Transports
from reconciler.rollout.apply_pass import RunContext, run_apply_pass
from reconciler.rollout.recovery import settle_open_runs
from reconciler.transports.mailbox import MailReader
from support.driver import NOON, NOWHERE, REVISION, FakeDriver, FakeNode, Set, World, cluster, fleet, set_of
from support.rollouts import Soak

FRESH = 60
"""Seconds up to which a report counts as what the node shows."""

LASTS = 300
"""Seconds after which an offer is overdue."""


class Offered(Set):
    """What the one verb needs, as an offer."""

    @property
    def is_offer(self):
        return True


class Polled(FakeDriver):
    """A product whose nodes cannot be called: what they show is their last report."""

    capabilities = Capabilities(single_node=True, transports=frozenset({TransportKind.MAILBOX}), reports=True)
    actions = {"set": Offered}  # noqa: RUF012  (a table)

    def __init__(self, world=None):
        super().__init__(world or World())

    def list_polling_nodes(self, desired):
        return tuple(node.name for node in desired.entry.nodes)

    def assign_tokens(self, desired, tokens):
        return desired

    def plan(self, desired, observed):
        plan = super().plan(desired, observed)
        steps = tuple(replace(step, arguments=Offered.load(set_of(step).plain())) for step in plan.steps)
        return replace(plan, steps=steps)

    async def observe(self, desired, transports):
        names = [node.name for node in desired.entry.nodes]
        cluster = desired.entry.name
        return Observed({name: (await self._read(cluster, name, transports))[0] for name in names})

    async def observe_step(self, step, transports):
        answer, mail = await self._read(step.cluster, step.node, transports)
        return Observed({step.node: answer, "failure of the step": _find_failure(mail, step)})

    async def _read(self, cluster, node, transports):
        mail = await transports.mailbox.read_mail(cluster, node)
        if "value" not in mail.items:
            return Unreachable("it never reported", Liveness.SILENT), mail
        item = mail.items["value"]
        return classify_by_age(json.loads(item.body)["value"], item.age, FRESH), mail

    def judge(self, step, seen):
        verdict = super().judge(step, seen)
        why = seen.nodes.get("failure of the step", "")
        if why and verdict.status is not StepStatus.DONE:
            return StepVerdict(StepStatus.READY, why, is_final=True)
        return verdict

    async def act(self, step, transports, payloads):
        mail = await transports.mailbox.read_mail(step.cluster, step.node)
        text = str(payloads[step.payload].document)
        draft = OfferDraft(
            cluster=step.cluster,
            node=step.node,
            feed=OfferFeed.SETTING,
            step=step.id,
            parts=(text.encode(),),
            label=text,
            content=text,
            seconds=step.in_flight - FRESH,
            former=(json.loads(mail.items["value"].body)["value"].encode(),),
        )
        return StepAnswer(await transports.mailbox.offer(draft), is_pending=True)

    def parse_report(self, node, message):
        if "beat" in message:
            return NodeReport(node, ReportKind.HEARTBEAT, message["beat"])
        if "status" in message:
            return NodeReport(node, ReportKind.FEEDBACK, message["version"], message["status"])
        return None

    def rebuild_offer(self, desired, offered):
        value, offer = offered.parts[0].decode(), offered.offer
        before = offered.former[0].decode()
        digest = fingerprint([value, offer.id])
        arguments = Offered(before=before, want=value, payload=digest, setting_version=value)
        entry = desired.entry
        return Step(
            id=f"{entry.name}/{offer.node}/set",
            cluster=entry.name,
            node=offer.node,
            action="set",
            arguments=arguments,
            reason="an earlier run offered it",
            effect=Effect.NONE,
            risk=Risk.LOW,
            risk_reason="",
            needs="",
            inverse=Inverse("", "set"),
            settle=30.0,
            in_flight=LASTS,
        )

    def undo_offer(self, step, offered):
        if not offered.former:
            return None
        value, own = offered.former[0].decode(), set_of(step)
        digest = fingerprint(value)
        arguments = replace(own, before=own.want, want=value, payload=digest)
        return replace(step, arguments=arguments, reason="its wave failed"), {digest: Payload(value)}


def _find_failure(mail, step):
    failure = json.loads(mail.items["failure"].body) if "failure" in mail.items else None
    taken = {one.offer.id for one in mail.offers[:1] if one.offer.step == step.id}
    return failure["reason"] if failure and failure["offer"] in taken else ""


@dataclass
class PolledNode:
    """A node: what it has loaded, and the `Last-Modified` that it remembers."""

    name: str
    value: str = "old"
    asked: object = None
    fails: str = ""


@dataclass
class PolledSite:
    """A store, nodes that poll, and passes whose clock the test sets."""

    store: object
    names: str = "abcd"
    cluster: str = "barn"
    time: object = NOON
    driver: object = field(default_factory=Polled)
    soak: object = field(default_factory=Soak)
    rollout: object = None
    rules: dict = field(default_factory=dict)
    is_held: bool = False

    def __post_init__(self):
        self.nodes = {name: PolledNode(name) for name in self.names}

    @property
    def drivers(self):
        return {"fake": self.driver}

    @property
    def transports(self):
        return Transports(mailbox=MailReader(self.store))

    def clock(self):
        return self.time

    def wanted(self, value="new", names=None, **more):
        values = value if isinstance(value, dict) else dict.fromkeys(names or self.names, value)
        nodes = {name: FakeNode(name=name, value=text) for name, text in values.items()}
        more = {"settle": 30.0, "in_flight": LASTS, "rollout": self.rollout, "concurrency": 50, **more}
        return cluster(self.cluster, nodes, **more)

    async def later(self, seconds, *names):
        """Time passes; then these nodes poll, and report."""
        self.time += timedelta(seconds=seconds)
        return [await self.poll(name) for name in names]

    async def poll(self, name, *, loads=True, reports=True):
        """One poll of a node as the node server answers it; gives the offer that it took."""
        node = self.nodes.setdefault(name, PolledNode(name))
        place, feed = (0, self.cluster, name), OfferFeed.SETTING
        changes = await self.store.read_changes(0)
        current, last = changes.offers.get(place, {}).get(feed, (None, None))
        is_suspended = bool(changes.suspended & {(0, self.cluster), (0, "")})
        despite = current.despite if current else frozenset()
        rules = self.rules.get("change_rules")
        holds = find_hiding_holds(rules, name, self.time) if rules else frozenset()
        holds |= frozenset({"suspended"} if is_suspended else ())
        is_held = self.is_held or not holds <= despite or place in changes.held
        decision = decide_poll(current, last, node.asked, self.time, is_held=is_held)
        taken = decision.offer if decision.answer is PollAnswer.OFFER else None
        call = self._record_call(
            name, asked=node.asked, label=node.value, feed=feed, took=taken.id if taken else ""
        )
        if taken and taken.id in await self.store.record_calls([call]):
            taken = None
        elif not taken:
            await self.store.record_calls([call])
        if taken:
            node.asked = taken.last_modified
            if node.fails:
                body = {"reason": node.fails, "offer": taken.id}
                await self.report(name, "failure", body, taken.id)
            elif loads:
                (part,) = await self.store.parts(taken)
                node.value = part.decode()
        if reports:
            await self.report(name, "value", {"value": node.value}, taken.id if taken else "")
        return taken

    async def beat(self, *names):
        for name in names:
            await self.report(name, "heartbeat", {"beat": self.nodes[name].value})

    async def confirm(self, name, status="ok"):
        await self.report(name, "feedback", {"version": self.nodes[name].value, "status": status})

    async def report(self, name, kind, body, offer=""):
        call = self._record_call(name, kind=kind, body=json.dumps(body).encode(), offer=offer)
        await self.store.record_calls([call])

    def _record_call(self, name, **more):
        return CallRecord(fleet=0, cluster=self.cluster, node=name, at=self.time, **more)

    async def settle(self):
        return await settle_open_runs(self.store, self.drivers, self.transports, clock=self.clock)

    async def look(self, *clusters, **more):
        recalled = await self.store.read_memory()
        wanted = clusters or (self.wanted(),)
        return await run_plan_pass(
            fleet(*wanted, **{**self.rules, **more}),
            drivers=self.drivers,
            transports=self.transports,
            recalled=recalled,
        )

    async def apply(self, *clusters, **more):
        """One pass: settle, plan, apply."""
        await self.settle()
        return await run_apply_pass(
            await self.look(*clusters, **more),
            drivers=self.drivers,
            transports=NOWHERE,
            journal=self.store,
            run_context=RunContext(clock=self.clock, rest=self.soak),
        )

    @property
    def values(self):
        return {name: node.value for name, node in self.nodes.items()}

    async def progress(self):
        memory = await self.store.read_memory()
        return memory.get_cluster_memory(self.cluster).progress

    async def rejected(self):
        return [one.short for one in (await self.store.orders()).rejections]

    async def offered(self):
        """Node -> text of its newest offer that can still be taken, or was taken."""
        changes = await self.store.read_changes(0)
        found = {}
        for (_, _, node), feeds in changes.offers.items():
            current = feeds[OfferFeed.SETTING][0]
            if current.is_visible(self.time):
                found[node] = (await self.store.parts(current))[0].decode()
        return found


def make_revision(short):
    """Another commit."""
    return replace(REVISION, id=short + "0" * 33, short=short, title=f"Commit {short}")
