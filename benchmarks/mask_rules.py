"""What masks mean, where nodes are quoted and where changes are shown, and the functions that hold it."""

# ruff: noqa: SLF001  (faults are planted where they hurt, in private functions too)

from __future__ import annotations

import asyncio
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from reconciler.cli.render import json as json_form
from reconciler.cli.render import markdown, text
from reconciler.cli.render.exit_report import ExitReport
from reconciler.core.arguments import RawArguments
from reconciler.core.diff import Change, Op
from reconciler.core.file_state import FilePlace
from reconciler.core.offers import OfferFeed
from reconciler.core.outcome import Outcome, RunReport, State
from reconciler.core.plan import ClusterPlan, Effect, Inverse, Plan, Revision, Risk, Step
from reconciler.core.secret import MASK, Secret
from reconciler.descriptions import changes as changed
from reconciler.descriptions import step_groups, values
from reconciler.descriptions.phrases import PlanView
from reconciler.desired.known_secrets import KnownSecrets
from reconciler.documents.document import parse_document
from reconciler.errors import NodeError, NodeRefused
from reconciler.exit_status import ExitStatus
from reconciler.feedback.message import make_message
from reconciler.planning import masked_transports as masking_module
from reconciler.planning.masked_transports import mask_transports
from reconciler.planning.plan_summary import PlanSummary
from reconciler.ports.transport import (
    Commands,
    Files,
    Http,
    HttpAnswer,
    Mailbox,
    NodeMail,
    OfferDraft,
    Transports,
)
from reconciler.secrets import redaction
from reconciler.secrets.redaction import Redactor
from reconciler.server.logs import LogRedactor

STEP = Step(
    id="edge/a/set",
    cluster="edge",
    node="a",
    action="set",
    arguments=RawArguments({}),
    reason="it differs",
    effect=Effect.HOT,
    risk=Risk.LOW,
    risk_reason="",
    needs="",
    inverse=Inverse("back"),
)
REVISION = Revision("/r", "a" * 40, "a" * 12)

CLEAR: Final = "Correct-Horse+Battery/9"
"""A secret that stands nowhere else."""


def quoted_texts() -> None:
    """What nodes are quoted with holds no part of a secret of eight characters, whatever way it comes."""
    parts = (
        CLEAR,
        CLEAR[:8],
        CLEAR[-8:],
        CLEAR[4:12].upper(),
        " ".join(CLEAR),
        b64encode(CLEAR.encode()).decode(),
    )
    redactor = Redactor([CLEAR])
    for part in (
        *parts,
        CLEAR.encode().hex(),
        b64encode(f"x{CLEAR}".encode()).decode()[4:-4],
        quote(CLEAR, safe=""),
    ):
        told = redactor.redact_text(f"a {part} b")
        assert (told[:2], told[-2:]) == ("a ", " b"), told
        assert MASK in told, part
    assert redactor.redact_text(f"{CLEAR[:7]} {CLEAR[-7:]}") == f"{CLEAR[:7]} {CLEAR[-7:]}"
    assert redactor.redact_text(CLEAR[:8]) == MASK
    assert redactor.redact_text("") == ""
    assert redactor.redact_text(f"<{CLEAR[2:11]}|{CLEAR[5:16]}>") == f"<{MASK}|{MASK}>"
    assert Redactor(["abcd"]).redact_text("abcd abcde") == f"{MASK} abcde"
    assert Redactor(["abc"]).redact_text("abc") == "abc"
    assert Redactor(["abc"], shortest=1).redact_text("abcd") == f"{MASK}d"
    assert Redactor(["-" * 30]).redact_text("-" * 9) == "-" * 9, "a line says nothing"
    address = Redactor([f"https://user:{CLEAR}@host.example/path?token={CLEAR[::-1]}&x=1"])
    assert address.redact_text("host.example/path?x=1") == "host.example/path?x=1"
    for part in (CLEAR[3:12], CLEAR[::-1][3:12]):
        assert address.redact_text(part) == MASK
    key = Redactor([f"-----BEGIN PRIVATE KEY-----\n{CLEAR}\n-----END PRIVATE KEY-----"])
    assert key.redact_text("-----BEGIN CERTIFICATE") == "-----BEGIN CERTIFICATE"
    assert Redactor([f"Bearer {CLEAR}"]).redact_text("bearer of news") == "bearer of news"
    written = parse_document("s.json", b'{"password": "Clear-in-the-file", "note": "nothing"}')
    told = KnownSecrets([written]).redact_text("it has lear-in-the-fil, and nothing")
    assert told == f"it has {MASK}, and nothing"
    asyncio.run(_transported(redactor))


class Saying(Http, Commands, Mailbox, Files):
    """Every way to a node, which quotes a secret."""

    def __init__(self, *, fails: bool) -> None:
        self.fails = fails

    async def send(self, *_: Any, **__: Any) -> HttpAnswer:
        await self.run()
        return HttpAnswer(400, {}, f"no: {CLEAR}".encode())

    async def run(self, *_: Any, **__: Any) -> str:
        if self.fails:
            raise NodeRefused("a", f"no: {CLEAR}", status=400)
        return f"no: {CLEAR}"

    async def read(self, *_: Any, **__: Any) -> str:
        return await self.run()

    async def offer(self, *_: Any, **__: Any) -> str:
        return await self.run()

    stage = switch = restore = discard = offer

    async def read_mail(self, *_: Any) -> NodeMail:
        await self.run()
        return NodeMail()


DRAFT = OfferDraft(cluster="edge", node="a", feed=OfferFeed.SETTING, step="s", parts=(), seconds=1)

PLACE = FilePlace("conf", "a")


async def _transported(redactor: Redactor) -> None:
    for fails in (False, True):
        way = Saying(fails=fails)
        ways = mask_transports(
            mask_transports(Transports(way, way, way, way), redactor), Redactor(["another one"])
        )
        calls = (
            ways.http.send("GET", "http://h/", node="a", timeout=1),
            ways.commands.run("c", {}, node="a"),
            ways.mailbox.offer(DRAFT),
            ways.commands.read("c", {}, node="a"),
            ways.mailbox.read_mail("edge", "a"),
            ways.files.read(PLACE),
            ways.files.stage(PLACE, b""),
            ways.files.switch(PLACE, before="", after=""),
            ways.files.restore(PLACE, before="", after=""),
            ways.files.discard(PLACE),
        )
        found = await asyncio.gather(*calls, return_exceptions=True)
        if fails:
            assert [(str(one), one.reason, one.message) for one in found] == [
                (f"a: no: {MASK}", f"no: {MASK}", f"a: no: {MASK}")
            ] * len(calls)
            continue
        answer, ran, offered, read, mail, content, *written = found
        assert (ran, offered, read) == (f"no: {MASK}", f"no: {MASK}", f"no: {CLEAR}")
        assert (content, written) == (f"no: {CLEAR}", [f"no: {MASK}"] * 4)
        assert answer.body == f"no: {CLEAR}".encode()
        assert (answer.quote(99), answer.quote(12)) == (f"no: {MASK}",) * 2
        assert mail.redact(f"no: {CLEAR}", 99) == f"no: {MASK}"
        assert answer.redact(f"{CLEAR}{'x' * 99}", 20) == f"{MASK}{'x' * 13}…"


def shown_changes() -> None:
    """Plans, reports, messages, logs and the history show a mask in the place of each secret."""
    secret, named = Secret(CLEAR), Secret(CLEAR[::-1], "${env:A}")
    changes = (
        Change("/a", Op.ADD, new={"x": secret}),
        Change("/b", Op.REMOVE, old=[secret, 1]),
        Change("/c", Op.REPLACE, secret, named),
        Change("/d", Op.REPLACE, secret, Secret("Third-Secret")),
        Change("/e", Op.REPLACE, [1, secret], [2, secret, named]),
        Change("/f", Op.REPLACE, [1, secret], [1, Secret("Third-Secret")]),
        Change("/g", Op.REPLACE, {"long": "y" * 60, "x": secret}, {"x": named}),
        Change("/h", Op.REPLACE, [secret, 1], [1, secret]),
    )
    step = replace(
        STEP,
        arguments=RawArguments({"word": secret}),
        inverse=Inverse("back", "set", {"word": [secret]}),
        changes=changes,
    )
    told = "\n".join(line.mark + line.text for line in changed.format_changes(changes, 9))
    assert told == _SHOWN, told
    plan = Plan(REVISION, "1", (ClusterPlan("edge", "m2", 1, 0, steps=(step,)),))
    hidden = tuple(replace(one, old=_another(one.old), new=_another(one.new)) for one in changes)
    other = replace(step, id="edge/b/set", node="b", changes=hidden)
    twice = Plan(REVISION, "1", (ClusterPlan("edge", "m2", 2, 0, steps=(step, other)),))
    view = PlanView(twice)
    report = RunReport("run", plan, (Outcome(step, State.DONE, "done"),))
    ended = ExitReport(ExitStatus.DONE, PlanSummary()).plain()
    shown = [
        repr(step.plain()),
        plan.encode().decode(),
        text.render_plan_text(view),
        markdown.render_plan_markdown(view),
        json_form.render_plan_json(view, ended),
        text.render_report_text(report),
        markdown.render_report_markdown(report),
        json_form.render_run_json(view, report, None, ended),
        repr(
            make_message(
                report.outcomes[0], run="run", revision=REVISION, now=datetime(2026, 1, 1, tzinfo=UTC)
            )
        ),
        repr(LogRedactor([])(None, "info", {"event": "x", "list": [secret, {"y": named}], "own": secret})),
        repr(LogRedactor([CLEAR])(None, "info", {CLEAR: 1, "event": f"say {CLEAR}", "list": [CLEAR]})),
    ]
    assert "a, b (2 nodes)" in shown[2], "secrets that differ behind their masks are alike"
    assert LogRedactor([])(None, "info", {"own": secret, "in": [named]}) == {"own": MASK, "in": ["${env:A}"]}
    for one in shown:
        assert not [part for part in (CLEAR, CLEAR[::-1], "Third") if part in one], one
    plain = step.plain()
    assert plain["arguments"] == {"word": MASK}
    assert plain["inverse"]["arguments"] == {"word": [MASK]}
    assert plain["changes"][2] == {"pointer": "/c", "op": "replace", "old": MASK, "new": "${env:A}"}


def _another(value: Any) -> Any:
    """The same value with other secrets."""
    if isinstance(value, Secret):
        return Secret(f"{value.value}-Third", value.reference)
    if isinstance(value, list):
        return [_another(item) for item in value]
    return {key: _another(item) for key, item in value.items()} if isinstance(value, dict) else value


_SHOWN: Final = f"""\
+/a: {{"x": "{MASK}"}}
-/b: was ["{MASK}", 1]
~/c: was "{MASK}", becomes "${{env:A}}"
~/d: a secret in it changes (not shown)
~/e: was 2 items, becomes 3
-  1
+  2
+  "${{env:A}}"
~/f: a secret in it changes (not shown)
~/g
-  was      {{"long": "{"y" * 60}", "x": "{MASK}"}}
+  becomes  {{"x": "${{env:A}}"}}
~/h: the same 2 items in another order
-  was      ["{MASK}", 1]
+  becomes  [1, "{MASK}"]"""

QUOTING = (
    *(
        Redactor.redact_text,
        Redactor.values,
        Redactor._mask_parts,
        redaction._list_parts,
        redaction._find_cores,
        redaction._encode,
    ),
    *(
        redaction._mask_found,
        redaction._list_forms,
        HttpAnswer.quote,
        HttpAnswer.redact,
        NodeError.reword,
        mask_transports,
    ),
    *(masking_module._MaskingHttp.send, masking_module._MaskingCommands.run),
    *(masking_module._MaskingCommands.read, masking_module._MaskingMailbox.offer),
    *(masking_module._MaskingMailbox.read_mail, KnownSecrets.redact_text, KnownSecrets.list_clear),
    *(masking_module._ErrorMask.__exit__, masking_module._MaskingFiles.read),
    *(masking_module._MaskingFiles.stage, masking_module._MaskingFiles.switch),
    *(masking_module._MaskingFiles.restore, masking_module._MaskingFiles.discard),
)

SHOWING = (
    *(
        Step.plain,
        values.format_value,
        changed.format_change,
        changed._format_list_change,
        changed._subtract,
        changed._list_items,
        step_groups._make_change_key,
    ),
    *(LogRedactor.__call__, LogRedactor._clean),
)
