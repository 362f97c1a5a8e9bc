"""Restarts of M2 nodes that poll: a later run than the offer makes them, and reports prove them."""

from dataclasses import replace

from support.m2_polled import POLL, PolledNodes, tokens
from support.m2_wire import cluster_input, setting

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
