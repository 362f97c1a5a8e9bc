"""A step with a missing secret is not performed, and secrets in answers are masked."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from support.driver import NOWHERE, FakeDriver, FakeNode, Wish, World, cluster, set_of
from support.offers import make_draft

from reconciler.core.diff import Change, Op
from reconciler.core.endpoint import SocketAddress
from reconciler.core.file_state import FilePlace, FileState
from reconciler.core.memory import FleetMemory
from reconciler.core.missing_secrets import report_missing_secrets
from reconciler.core.observation import NodeReport, Observed, Present, ReportKind
from reconciler.core.outcome import State
from reconciler.core.plan import Payload
from reconciler.core.rollout_rules import ReportGate
from reconciler.core.secret import MASK, Secret
from reconciler.core.step_status import StepStatus, StepVerdict
from reconciler.diagnostic import Severity
from reconciler.errors import NodeRefused, NodeUnidentified
from reconciler.planning.masked_transports import mask_transports
from reconciler.planning.withheld_steps import withhold_steps
from reconciler.ports.answer_text import describe_answer
from reconciler.ports.driver import Capabilities
from reconciler.ports.transport import (
    Commands,
    Files,
    Http,
    HttpAnswer,
    Mailbox,
    MailItem,
    NodeMail,
    Streams,
    Transports,
)
from reconciler.rollout.step_executor import ExecutionContext, run_step_masked, skip_step
from reconciler.rollout.stored_reports import StoredReports
from reconciler.secrets.redaction import Redactor


class Quoting(FakeDriver):
    """A product whose node quotes what it was sent."""

    async def act(self, step, transports, payloads):
        clear = payloads["p"].document["key"].value
        raise NodeRefused(step.node, f"it does not like {clear}", status=400, code="E1")


def _prepared(payload):
    world = World({"n": "old"})
    driver = Quoting(world)
    plan = driver.plan(
        Wish(cluster("c", {"n": FakeNode(name="n", value="new")})), Observed({"n": Present("old")})
    )
    (step,) = plan.steps
    step = replace(step, arguments=replace(set_of(step), payload="p"))
    intents = []

    async def intend(step, *_, **__):
        intents.append(step.id)

    log = SimpleNamespace(record_intent=intend, hold_for=lambda *_: None)
    return world, step, ExecutionContext(driver, NOWHERE, {"p": payload}, log, asyncio.Event()), intents


async def test_a_step_with_a_missing_secret_has_no_intent_and_no_call():
    # What stands for an unknown value is its reference, which is no secret: it tells where to look.
    name, why = "${file:/srv/tokens/edge}", "the file /srv/tokens/edge is not there; write it"
    payload = Payload({"key": Secret(name, name, why)}, missing={f"{name} at /key": why})
    world, step, bench, intents = _prepared(payload)
    ending = await run_step_masked(step, bench)
    assert ending.outcome.state is State.SKIPPED
    assert f"{name} at /key" in ending.outcome.reason
    assert why in ending.outcome.reason
    assert (intents, world.acts) == ([], [])


async def test_a_secret_in_an_answer_is_masked():
    _, step, bench, _ = _prepared(Payload({"key": Secret("clear-text", "${env:A}")}))
    ending = await run_step_masked(step, bench)
    assert ending.outcome.state is State.FAILED
    assert f"it does not like {MASK}" in ending.outcome.reason
    assert "clear-text" not in ending.outcome.reason + ending.answer


def test_masking_takes_the_longest_secret_first_and_leaves_parts_of_words():
    assert Redactor(["abcd", "abcd-efgh", "a", ""]).redact_text("abcd-efgh abcd a") == f"{MASK} {MASK} a"


async def test_the_old_value_of_a_secret_is_masked_too():
    _, step, bench, _ = _prepared(Payload({"key": Secret("old-clear-text", "${env:A}")}))
    step = replace(step, changes=(Change("/key", Op.REMOVE, old=Secret("old-clear-text")),))
    bench = replace(bench, payloads={"p": Payload({"key": Secret("old-clear-text")})})
    ending = await run_step_masked(step, bench)
    assert "old-clear" not in ending.outcome.reason + ending.answer


async def test_a_verdict_before_the_call_is_masked_too():
    _, step, bench, intents = _prepared(Payload({"key": Secret("clear-text", "${env:A}")}))
    told = StepVerdict(StepStatus.CHANGED, "it shows clear-text, and then lear-text")
    bench.driver.judge = lambda *_: told
    for ending in (await run_step_masked(step, bench), await skip_step(step, bench, "planned otherwise")):
        assert "lear-text" not in ending.outcome.reason
    bench.driver.judge = lambda *_: StepVerdict(StepStatus.DONE, "it shows clear-text")
    for ending in (await run_step_masked(step, bench), await skip_step(step, bench, "planned otherwise")):
        assert (ending.outcome.state, ending.outcome.reason) == (State.FOUND, f"it shows {MASK}")
    assert intents == []


class Echo(Http, Commands, Mailbox):
    """Ways to a node that quotes what it was told, as answers, words and errors."""

    def __init__(self, text, fails):
        self.text = text
        self.fails = fails

    async def send(self, *_, **__):
        if self.fails:
            raise NodeUnidentified("n", f"no HTTP: {self.text}")
        return HttpAnswer(400, {"location": f"/{self.text}"}, f"no: {self.text}".encode())

    async def run(self, *_, **__):
        if self.fails:
            raise NodeRefused("n", self.text, status=1)
        return self.text

    async def read(self, *_, **__):
        return await self.run()

    async def offer(self, *_, **__):
        return await self.run()

    async def read_mail(self, *_):
        await self.run()
        return NodeMail(content=MailItem(self.text.encode(), 0.0))


class EchoFiles(Files):
    """Files of such a node."""

    def __init__(self, echo):
        self.echo = echo

    async def read(self, place):
        return FileState((await self.echo.run()).encode())

    async def stage(self, place, content):
        return await self.echo.run()

    async def switch(self, place, *, before, after):
        return await self.echo.run()

    async def restore(self, place, *, before, after):
        return await self.echo.run()

    async def discard(self, place):
        return await self.echo.run()


class EchoStreams(Streams):
    """Streams to such a node."""

    def __init__(self, echo):
        self.echo = echo

    async def ask(self, *_, **__):
        return (await self.echo.run()).encode()

    async def send(self, *_, **__):
        return (await self.echo.run()).encode()


@pytest.mark.parametrize("fails", [False, True])
async def test_streams_mask_errors_and_leave_the_answer_unchanged(fails):
    echo = Echo("it has clear-text-of-A", fails)
    ways = mask_transports(Transports(streams=EchoStreams(echo)), Redactor(["clear-text-of-A"]))
    options = {"is_complete": bool, "node": "n", "timeout": 1, "limit": 10}
    for call in (ways.streams.ask, ways.streams.send):
        told = await asyncio.gather(call(SocketAddress("h", 1), b"", **options), return_exceptions=True)
        assert [one if isinstance(one, bytes) else str(one) for one in told] == (
            [f"n: it has {MASK}"] if fails else [b"it has clear-text-of-A"]
        )


@pytest.mark.parametrize("fails", [False, True])
async def test_files_mask_what_is_told_and_leave_the_content_unchanged(fails):
    echo = Echo("it has clear-text-of-A", fails)
    files = mask_transports(Transports(files=EchoFiles(echo)), Redactor(["clear-text-of-A"])).files
    place = FilePlace("conf", "n")
    calls = [
        files.stage(place, b""),
        files.switch(place, before="", after=""),
        files.restore(place, before="", after=""),
        files.discard(place),
        files.read(place),
    ]
    told = [f"it has {MASK}"] * 4
    if fails:
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert [str(error) for error in errors] == [f"n: {text}" for text in [*told, told[0]]]
        return
    assert await asyncio.gather(*calls) == [*told, FileState(b"it has clear-text-of-A")]


@pytest.mark.parametrize("fails", [False, True])
async def test_every_transport_masks_quotations_and_leaves_data_unchanged(fails):
    echo = Echo("it has clear-text-of-A", fails)
    ways = mask_transports(
        mask_transports(Transports(echo, echo, echo), Redactor(["clear-text-of-A"])),
        Redactor(["clear-text-of-B"]),
    )
    calls = [
        ways.http.send("GET", "http://h/", node="n", timeout=1),
        ways.commands.run("c", {}, node="n"),
        ways.mailbox.offer(make_draft("n")),
        ways.commands.read("c", {}, node="n"),
        ways.mailbox.read_mail("c", "n"),
    ]
    found = await asyncio.gather(*calls, return_exceptions=True)
    if fails:
        assert [str(error) for error in found[1:]] == [f"n: it has {MASK}"] * 4
        assert (found[0].reason, found[0].message) == (
            f"no HTTP: it has {MASK}",
            f"n: no HTTP: it has {MASK}",
        )
        return
    answer, said, offered, read, reported = found
    assert said == offered == f"it has {MASK}"
    assert read == reported.content.body.decode() == echo.text
    assert reported.redact(echo.text, 100) == f"it has {MASK}"
    assert answer.body == b"no: it has clear-text-of-A"
    assert answer.quote(100) == f"no: it has {MASK}"
    assert answer.quote(22) == f"no: it has {MASK}", "it is masked before it is cut"
    assert "clear" not in describe_answer("http://h/", answer, "M2")


async def test_a_report_of_a_node_is_masked():
    class Driver(FakeDriver):
        capabilities = Capabilities(reports=True)

        def parse_report(self, node, message):
            return NodeReport(node, ReportKind.FEEDBACK, None, message["status"])

    class Store:
        async def mail(self, cluster, nodes):
            body = json.dumps({"status": "E4: clear-text-of-A"}).encode()
            return {node: NodeMail({"setting": MailItem(body, 0.0)}) for node in nodes}

    _, step, _, _ = _prepared(Payload({}))
    now = datetime.now(UTC)
    gate = ReportGate(feedback=True)
    reports = StoredReports(gate, Driver(World()), Store(), Redactor(["clear-text-of-A"]), clock=lambda: now)
    found = await reports.evaluate((step,), now, now, asyncio.Event())
    assert found.reason == f"n reports a failure of its new setting: E4: {MASK}"


async def test_the_record_of_an_attempt_cannot_be_guessed_without_the_key_of_the_host():
    world = World({"n": "old"})
    wish = Wish(cluster("c", {"n": FakeNode(name="n", value="new")}))
    driver, observed = FakeDriver(world), Observed({"n": Present("old")})
    plan = driver.plan(wish, observed)
    kept = []
    for key in (b"", b"one", b"two"):
        memory = FleetMemory(at=datetime(2026, 1, 1, tzinfo=UTC), key=key)
        found = withhold_steps(plan, wish, observed, driver, memory=memory, content="c", in_waves=False)
        kept.append(json.loads(next(iter(found.attempts[plan.steps[0].id].values())))["aim"])
    assert len(set(kept)) == 3
    assert kept[0] == driver.fingerprint_purpose(plan.steps[0], driver.contents(wish))


WHY = "the file is not there; write it"


def _withheld(*, in_waves=False, is_applying=True, missing="b", reports=()):
    """What may be sent of a plan of three nodes, of which one needs a secret that is missing."""
    values = {"a": "old", "b": "old", "c": "old"}
    wish = Wish(cluster("c", {name: FakeNode(name=name, value="new") for name in values}))
    driver, observed = FakeDriver(World(values)), Observed({name: Present("old") for name in values})
    why = WHY
    told = tuple(report_missing_secrets("c", reports))

    def plan(wish, observed):
        found = FakeDriver.plan(driver, wish, observed)
        steps = tuple(replace(one, arguments=replace(set_of(one), payload=one.node)) for one in found.steps)
        payloads = {
            one.node: Payload({}, missing={"${file:t} at /key": why} if one.node in missing else {})
            for one in steps
        }
        return replace(found, steps=steps, payloads=payloads, findings=told)

    driver.plan = plan
    return withhold_steps(
        plan(wish, observed),
        wish,
        observed,
        driver,
        memory=FleetMemory(at=datetime(2026, 1, 1, tzinfo=UTC)),
        content="c",
        in_waves=in_waves,
        is_applying=is_applying,
    )


def test_a_node_whose_secret_is_missing_is_left_out_before_anything_is_sent():
    kept = _withheld()
    assert [step.node for step in kept.plan.steps] == ["a", "c"]
    [found] = [one for one in kept.plan.findings if one.code == "secret-unavailable"]
    assert (found.severity, found.target) == (Severity.ERROR, "c/b")
    assert "b: nothing is sent (set): the secret ${file:t} at /key is not available here" in found.message
    assert set(kept.withheld_nodes) == {"b"}
    assert "c/b" not in kept.attempts


@pytest.mark.parametrize(("is_applying", "warned"), [(True, ["/other"]), (False, ["/other", "/key"])])
def test_a_missing_secret_is_told_once_and_every_reason_of_it(is_applying, warned):
    reports = [("/key", WHY), ("/other", "it cannot be decrypted")]
    kept = _withheld(is_applying=is_applying, reports=reports)
    found = [one for one in kept.plan.findings if one.code == "secret-unavailable"]
    warnings = [one for one in found if one.severity is Severity.WARNING]
    assert [one.message.partition(":")[0] for one in warnings] == warned
    assert sum(WHY in one.message for one in found) == 1


def test_no_wave_starts_without_a_node_whose_secret_is_missing():
    assert _withheld(in_waves=True).plan.steps == ()
    assert len(_withheld(in_waves=True, missing="").plan.steps) == 3


def test_where_nothing_is_applied_a_missing_secret_hides_no_step():
    kept = _withheld(is_applying=False)
    assert [step.node for step in kept.plan.steps] == ["a", "b", "c"]
    assert kept.plan.findings == ()
