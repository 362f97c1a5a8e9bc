"""What the tests of the loops share: surroundings with readable logs, fleets and passes by hand."""

import asyncio
import io
import json
import time
from types import SimpleNamespace

from reconciler.core.plan import Revision
from reconciler.server.cluster_pass import LoopContext
from reconciler.server.logs import open_log
from reconciler.server.metrics import Metrics
from reconciler.server.pass_result import PassResult, PassSummary
from reconciler.server.watch_state import WatchState

CONVERGED = PassSummary(PassResult.CONVERGED)
FOREVER = 3600.0


def revision(outbox_message="a"):
    return Revision("/fleet", outbox_message * 40, outbox_message * 7, f"Commit {outbox_message}")


def fleet(outbox_message="a", *names, nodes=(), inputs=None):
    """A fleet of clusters with the same nodes each; without `inputs`, each revision changes all."""
    members = tuple(SimpleNamespace(name=node) for node in nodes)
    cluster_inputs = tuple(
        SimpleNamespace(entry=SimpleNamespace(name=name, after=(), members=lambda: members))
        for name in names or ("edge",)
    )
    return SimpleNamespace(
        revision=revision(outbox_message),
        cluster_inputs=cluster_inputs,
        warnings=(),
        input_digests=inputs or {},
    )


class Rig:
    """Surroundings of loops, and what they wrote."""

    def __init__(self, *, interval=FOREVER, draw=1.0):
        self.watch_state = WatchState()
        self.metrics = Metrics(self.watch_state, dry_run=False)
        self.stream = io.StringIO()
        self.context = LoopContext(
            watch_state=self.watch_state,
            metrics=self.metrics,
            log=open_log(self.stream, form="json"),
            clock=time.monotonic,
            wall=time.time,
            draw=lambda: draw,
            interval=interval,
        )

    def lines(self, event=""):
        found = [json.loads(line) for line in self.stream.getvalue().splitlines()]
        return [line for line in found if event in {"", line["event"]}]

    def sample(self, name, **labels):
        return self.metrics.registry.get_sample_value(f"reconciler_{name}", labels)


class Script:
    """A pass that gives, or raises, one thing after the other; the last one for ever."""

    def __init__(self, *ends):
        self.ends = list(ends) or [CONVERGED]
        self.jobs = []
        self.news = asyncio.Event()
        self.gate = None

    async def __call__(self, job):
        self.jobs.append(job)
        self.news.set()
        if self.gate:
            stop = asyncio.create_task(job.stop.wait())
            gate = asyncio.create_task(self.gate.wait())
            await asyncio.wait({stop, gate}, return_when=asyncio.FIRST_COMPLETED)
            stop.cancel()
            gate.cancel()
            if job.stop.is_set():
                return PassSummary(PassResult.STOPPED)
        end = self.ends.pop(0) if len(self.ends) > 1 else self.ends[0]
        if isinstance(end, BaseException):
            raise end
        return end

    async def ran(self, count):
        """Wait until so many passes were begun."""
        async with asyncio.timeout(10):
            while len(self.jobs) < count:
                self.news.clear()
                await self.news.wait()


async def until(condition):
    """Wait until a condition holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)
