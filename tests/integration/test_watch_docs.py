"""The tables of docs/watch.md and docs/monitoring.md say what the program does."""

import re
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

from reconciler.core.drift import Drift
from reconciler.core.expiry import Expiry, ExpiryKind
from reconciler.core.pins import LeftRevision, Pin, PinEffect, PinState
from reconciler.core.plan import Revision
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.host.credentials import WEBHOOK_SECRET, name_file_variable
from reconciler.ports.notification_store import AddressState
from reconciler.server.metrics import TRIGGERS, Metrics
from reconciler.server.nodes.bus_service import BusState
from reconciler.server.nodes.counters import CallCounters
from reconciler.server.nodes.node_server import NodeServerState
from reconciler.server.nodes.summary import PolledCluster
from reconciler.server.pass_result import SETTLED, PassResult, PassSummary
from reconciler.server.watch_state import SourceState, WatchedCluster, WatchedSource, WatchState
from reconciler.server.webhook.answer import CAP

DOCS = Path(__file__).parents[2] / "docs"
TEXT = "\n".join((DOCS / name).read_text(encoding="utf-8") for name in ("watch.md", "monitoring.md"))
REVISION = Revision("s", "1" * 40, "1111111")


def rows(heading):
    """The cells of the first table below a heading or a line of text."""
    table = TEXT[TEXT.index(heading) :].split("\n|", 1)[1].split("\n\n")[0]
    lines = [line.strip().strip("|").split("|") for line in table.splitlines()[2:]]
    return [[cell.strip() for cell in line] for line in lines]


def names(cell):
    return re.findall(r"`([^`]+)`", cell)


def served():
    """Name -> labels of every metric, with one sample in each."""
    pin = Pin("live", REVISION, (LeftRevision("2" * 40),), "kim", "", datetime(2026, 11, 21, tzinfo=UTC))
    turn = PassSummary(
        PassResult.REFUSED,
        violations=(Diagnostic(Severity.ERROR, "quorum", "no", "wait", target="live"),),
        pin=PinState(pin, PinEffect.HOLDS, REVISION),
        unmanaged={"/x": 1},
        drift=(Drift("a", pin.since),),
        expiries=(Expiry(ExpiryKind.LICENCE, "of Sora", "live/a", pin.since),),
    )
    watch_state = WatchState(
        source=WatchedSource(SourceState.GOOD, REVISION),
        clusters={
            "live": WatchedCluster(
                "live", REVISION, REVISION, pass_summary=turn, answers={"present": 3}, host="one process 1"
            )
        },
    )
    heard = datetime(2026, 11, 21, tzinfo=UTC)
    polled = PolledCluster(nodes=1, versions=Counter({"v1": 1}), heard=heard)
    counters = CallCounters(
        reports=Counter(k=1), refused=Counter({404: 1}), bus_skipped=Counter({"not JSON": 1})
    )
    bus = BusState(waiting=1, oldest=heard, heard=heard)
    watch_state.node_server = SimpleNamespace(
        counters=counters, problem="", state=NodeServerState(clusters={"live": polled}, buses={"live": bus})
    )
    watch_state.operations = {("live", "purge", "done"): 1}
    watch_state.addresses = {"ops /x": AddressState("ops /x")}
    metrics = Metrics(watch_state, dry_run=True)
    metrics.passes.labels("live", "refused").inc()
    metrics.steps.labels("live", "purge", "done").inc()
    metrics.rejects.labels("bad-signature").inc()
    metrics.unexpected.labels("source").inc()
    metrics.seconds.labels("live").observe(1)
    found = {}
    for family in metrics.registry.collect():
        if family.name.startswith("reconciler_"):
            suffix = "_total" if family.type == "counter" else ""
            labels = {name for sample in family.samples for name in sample.labels} - {"le"}
            found[family.name + suffix] = labels
            assert family.documentation.endswith(".")
    return found


def test_the_table_of_metrics_is_complete_and_its_labels_are_right():
    told = {names(name)[0]: set(names(labels)) for name, labels, _ in rows("## Metrics")}
    assert told == served()


def test_the_table_of_triggers():
    assert {names(row[0])[0] for row in rows("## What starts a pass")} == set(TRIGGERS)


def test_the_table_of_states_and_what_comes_next():
    told = {state: row[2] for row in rows("States of a cluster:") for state in names(row[0])}
    assert told.keys() == {result.value for result in PassResult}
    for result in PassResult:
        assert ("interval" in told[result.value]) is (result in SETTLED), result


def test_the_secret_and_the_cap():
    assert f"`{WEBHOOK_SECRET}`" in TEXT
    assert f"`{name_file_variable(WEBHOOK_SECRET)}`" in TEXT
    assert f"{CAP // 1024**2} MiB" in TEXT
