"""Restarts of M2 nodes that poll: a later run than the offer makes them, and reports prove them."""

import json
from dataclasses import replace

from support.m2_polled import POLL, PolledNodes, tokens
from support.m2_wire import WorldWire, cluster_input, setting, world

from reconciler.core.prior_revisions import PriorRevisions
from reconciler.core.secret import reveal
from reconciler.core.step_status import StepStatus
from reconciler.drivers.m2.product import DRIVER
from reconciler.file_delivery.simulated_machines import SimulatedCommands
from reconciler.ports.simulated_machine import SimulatedMachine
from reconciler.ports.transport import Transports

NODE = "edge-01"
MEMORY = "env.properties.memoryUsage"
RESTART = {"command": "restart-m2", "started": {"command": "m2-started"}}
NEW = setting(env__properties__memoryUsage=70)


class Site:
    """One node that polls, has no address, and whose machine this host reaches by another way, or not."""

    def __init__(self):
        self.mailbox, self.given = PolledNodes(), []
        self.machine = SimulatedMachine({}, {"restart-m2": self.restart, "m2-started": self.started})
        self.machine.start()
        self.transports = Transports(commands=SimulatedCommands({NODE: self.machine}), mailbox=self.mailbox)

    def restart(self, machine, values):
        self.given.append(dict(values))
        machine.start()
        return "restarted"

    def started(self, machine, values):
        return f"start {machine.starts}"

    def desired(self, document=None, short="c0ffee1"):
        where = cluster_input(
            document, nodes=(NODE,), deliver="poll", poll=POLL, version="commit", restart=RESTART
        )
        nodes = tuple(one.model_copy(update={"address": ""}) for one in where.entry.nodes)
        where = replace(
            where,
            entry=where.entry.model_copy(update={"nodes": nodes}),
            revision=replace(where.revision, short=short),
        )
        desired = DRIVER.add_history(DRIVER.desire(where), {}, PriorRevisions())
        return DRIVER.assign_tokens(desired, tokens(NODE))

    async def plan(self, document=None, short="c0ffee1"):
        desired = self.desired(document, short)
        return DRIVER.plan(desired, await DRIVER.observe(desired, self.transports))

    async def take_new_setting(self):
        (target,) = self.desired().targets
        self.mailbox.edit(NODE, reveal(target.content.document))
        self.mailbox.later(1)
        self.mailbox.poll(NODE)
        plan = await self.plan(NEW, "c0ffee2")
        offer = plan.steps[0]
        assert offer.action == "offer"
        assert all(step.after == (offer.id,) for step in plan.steps[1:])
        assert (await DRIVER.act(offer, self.transports, plan.payloads)).is_pending
        self.mailbox.later(1)
        assert self.mailbox.poll(NODE)
        self.mailbox.load(NODE, notupdated=[{"field": MEMORY, "cur": 50, "new": 70}])
        self.mailbox.later(1)
        self.mailbox.poll(NODE)

    async def judge(self, step):
        return DRIVER.judge(step, await DRIVER.observe_step(step, self.transports))


async def test_a_node_that_reported_what_waits_is_restarted_by_a_later_run():
    site = Site()
    await site.take_new_setting()
    plan = await site.plan(NEW, "c0ffee2")
    assert [step.action for step in plan.steps] == ["restart"]
    (step,) = plan.steps
    assert step.arguments.fields == (MEMORY,)
    assert (await site.judge(step)).status is StepStatus.READY
    await DRIVER.act(step, site.transports, plan.payloads)
    assert site.given == [{"node": NODE}]  # its host is not known
    # Started again, and it has not called since: its former report proves nothing.
    assert (await site.judge(step)).status is StepStatus.UNKNOWN
    site.mailbox.later(1)
    site.mailbox.tell(NODE, event="/_sys_/bootup")
    site.mailbox.poll(NODE)
    assert (await site.judge(step)).status is StepStatus.DONE
    assert not (await site.plan(NEW, "c0ffee2")).steps


async def test_a_node_whose_machine_is_not_reached_is_left_to_a_person():
    site = Site()
    await site.take_new_setting()
    site.machine.is_silent = True
    plan = await site.plan(NEW, "c0ffee2")
    assert not plan.steps
    (finding,) = [one for one in plan.findings if one.code == "waits-for-restart"]
    assert "a person" in finding.remedy
    assert MEMORY in finding.message


async def take_silently(site, document, short):
    """The node takes and loads a setting, and its report about it is lost."""
    plan = await site.plan(document, short)
    await DRIVER.act(plan.steps[0], site.transports, plan.payloads)
    site.mailbox.later(1)
    assert site.mailbox.poll(NODE)
    site.mailbox.load(NODE, report=False)
    site.mailbox.later(1)
    site.mailbox.poll(NODE)


async def test_what_waits_follows_from_the_report_before_if_the_only_one_about_it_was_lost():
    site = Site()
    (target,) = site.desired(setting(env__properties__memoryUsage=50)).targets
    site.mailbox.edit(NODE, reveal(target.content.document), report=False)
    site.mailbox.tell(NODE, event="/_sys_/bootup")
    site.mailbox.later(1)
    site.mailbox.poll(NODE)
    await take_silently(site, NEW, "c0ffee2")
    plan = await site.plan(NEW, "c0ffee2")
    (step,) = plan.steps
    assert (step.action, step.arguments.fields) == ("restart", (MEMORY,))
    await DRIVER.act(step, site.transports, plan.payloads)
    assert (await site.judge(step)).status is StepStatus.UNKNOWN
    site.mailbox.later(1)
    site.mailbox.tell(NODE, event="/_sys_/bootup")
    site.mailbox.poll(NODE)
    assert (await site.judge(step)).status is StepStatus.DONE
    assert not (await site.plan(NEW, "c0ffee2")).steps


async def test_a_lost_report_about_what_applies_at_once_restarts_nothing():
    site = Site()
    (target,) = site.desired(NEW).targets
    site.mailbox.edit(NODE, reveal(target.content.document), report=False)
    site.mailbox.tell(NODE, event="/_sys_/bootup")
    site.mailbox.later(1)
    site.mailbox.poll(NODE)
    other = setting(env__properties__memoryUsage=70, env__management__cluster__balance__mode="hash")
    await take_silently(site, other, "c0ffee2")
    plan = await site.plan(other, "c0ffee2")
    assert not plan.steps
    assert not [one for one in plan.findings if one.code in {"waiting-unknown", "waits-for-restart"}]


async def test_where_its_mail_does_not_tell_what_waits_the_api_of_a_node_does():
    site = Site()
    where = cluster_input(NEW, nodes=(NODE,), deliver="poll", poll=POLL, version="commit", restart=RESTART)
    desired = DRIVER.assign_tokens(
        DRIVER.add_history(DRIVER.desire(where), {}, PriorRevisions()), tokens(NODE)
    )
    document = reveal(desired.targets[0].content.document)
    document["env"]["management"]["roles"][0]["permissions"]["enableGet"] = True
    before = json.loads(json.dumps(document))
    before["env"]["properties"]["memoryUsage"] = 50
    wire = WorldWire(world(before))
    transports = replace(site.transports, http=wire)
    url = f"http://{NODE}.example.com:10040/setting/upload"
    headers = {"content-type": "application/json"}
    await wire.send("POST", url, node=NODE, timeout=1, headers=headers, content=json.dumps(document).encode())
    site.mailbox.edit(NODE, document)
    for event, asked in ((None, False), ("api", True)):
        if event is not None:  # its newest report says nothing of the setting that it showed before
            site.mailbox.later(60)
            site.mailbox.tell(NODE, status="E0003", upload=False, event=event)
            site.mailbox.poll(NODE)
        wire.sent.clear()
        seen = await DRIVER.observe(desired, transports)
        assert bool(wire.sent) is asked
        assert seen.nodes[NODE].value.waiting == ((MEMORY,) if asked else ())
    assert seen.starts
    # A node that shows another setting by now tells nothing of the one in its mail.
    other = {**before, "functions": {"x": 1}}
    await wire.send("POST", url, node=NODE, timeout=1, headers=headers, content=json.dumps(other).encode())
    assert (await DRIVER.observe(desired, transports)).nodes[NODE].value.waiting is None
