"""The fake product with a way back and with metrics, and a soak that tests can step into."""

from dataclasses import replace

from reconciler.core.canonical import fingerprint
from reconciler.core.observation import Present
from reconciler.core.plan import Payload
from reconciler.planning.plan_pass import run_plan_pass
from reconciler.ports.driver import Capabilities
from reconciler.rollout.apply_pass import RunContext, run_apply_pass
from support.driver import NOWHERE, FakeDriver, World, fleet, set_of


class Returning(FakeDriver):
    """A product that can take a step back, and tells `errors_total` of each node that has one."""

    capabilities = Capabilities(single_node=True, metrics=True)

    def __init__(self, world):
        super().__init__(world)
        self.errors = {}
        self.final = set()

    def undo(self, step, observed, payloads):
        seen = observed.nodes[step.node]
        if step.node in self.final or not isinstance(seen, Present):
            return None
        digest = fingerprint(seen.value)
        own = set_of(step)
        arguments = replace(own, before=own.want, want=seen.value, payload=digest)
        back = replace(step, arguments=arguments, reason="its wave failed")
        return back, {digest: Payload(seen.value)}

    async def health(self, desired, nodes, transports):
        return {node: {"errors_total": self.errors[node]} for node in nodes if node in self.errors}


class Soak:
    """Stands in for the clock: remembers what was waited for, and lets things happen meanwhile."""

    def __init__(self):
        self.waited = []
        self.meanwhile = lambda: None

    async def __call__(self, seconds, stop):
        self.waited.append(seconds)
        happened = self.meanwhile()
        if happened is not None:
            await happened


class Bench:
    """A world, a store, and passes over them."""

    def __init__(self, store, world=None, driver=Returning):
        self.store = store
        self.world = world or World()
        self.driver = driver(self.world)
        self.drivers = {"fake": self.driver}
        self.soak = Soak()

    async def plan_result(self, *clusters, only="", **more):
        recalled = await self.store.read_memory()
        return await run_plan_pass(
            fleet(*clusters, **more), drivers=self.drivers, transports=NOWHERE, recalled=recalled, only=only
        )

    async def apply(self, seen, **more):
        more = {"run_context": RunContext(rest=self.soak), **more}
        return await run_apply_pass(
            seen, drivers=self.drivers, transports=NOWHERE, journal=self.store, **more
        )

    async def run(self, *clusters, **more):
        return await self.apply(await self.plan_result(*clusters, **more))


def states(report):
    return {outcome.step.node: outcome.state.value for outcome in report.outcomes}
