"""Plan a source, apply the plan, and print the state of every node.

python examples/api/one_pass.py SOURCE STATE
"""

import asyncio
import sys
from pathlib import Path

from reconciler.api.reader import Reader
from reconciler.api.reconciler import Reconciler
from reconciler.core.outcome import Outcome
from reconciler.errors import ReconcilerError
from reconciler.ports.listener import PassListener
from reconciler.sources.locate import locate_source
from reconciler.store.factory import open_store


class StepPrinter(PassListener):
    """Receives the events of a pass; here the end of each step."""

    def on_step_ended(self, outcome: Outcome) -> None:
        print(f"  {outcome.step.id}: {outcome.state} {outcome.reason}".rstrip())


async def main(place: str, state: Path) -> int:
    reader = Reader(locate_source(place, cache=state / "sources"))

    seen = await reader.plan()  # reads only: a reader cannot write
    for step in seen.plan.steps():
        print(f"planned: {step.id}, reason: {step.reason}; undo: {step.inverse.words}")
    for violation in seen.violations:
        print(f"refused: {violation.message} [{violation.code}]")
    if seen.is_refused:
        return 3

    with open_store(state) as store:
        reconciler = Reconciler(reader, store)
        done = await reconciler.run(seen.fleet, trigger="example", listener=StepPrinter())
        if done.report is None:
            return 3
        print(f"run {done.report.run or 'without a step'}")
        status = await reconciler.reader.status()
    for cluster in status.clusters:
        for node in cluster.nodes:
            print(f"{cluster.cluster}/{node.node}: {node.state}")
    return done.report.exit_status


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main(sys.argv[1], Path(sys.argv[2]))))
    except ReconcilerError as error:
        sys.exit(f"{error.message}; {error.remedy}")
