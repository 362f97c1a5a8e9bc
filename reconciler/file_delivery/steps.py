"""The steps that deliver a file: stage it, switch to it, and take both back; pure, except for `perform`.

    stage-file   written aside with the rights of the current file, and checked by the entry's own program
    switch-file  the staged content takes the place of the file, in one moment; the backup is left
    restore-file the backup is the file again: the undo of a switch
    discard-file what lies beside the file is removed: the undo of a stage, and after a killed run

Each is judged by a reading of the file alone, so that a lost answer or a kill needs no code of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from reconciler.core.arguments import OMITTED, TypedArguments, read_arguments
from reconciler.core.canonical import fingerprint
from reconciler.core.diff import Change, Op
from reconciler.core.file_state import NO_FILE, FilePlace, FileState, compute_file_digest
from reconciler.core.observation import FileReading, Observed, Present, Unreachable, describe_unread
from reconciler.core.plan import IN_FLIGHT, Effect, Inverse, Payload, Risk, Step
from reconciler.core.step_status import StepStatus, StepVerdict
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.errors import NodeRefused
from reconciler.file_delivery.content import FileContent, UnfitFile
from reconciler.file_delivery.node_starts import UNREAD_START, read_starts
from reconciler.ports.driver import StepAnswer, Undo
from reconciler.ports.transport import Transports
from reconciler.text.json_pointer import make_pointer

STAGE: Final = "stage-file"
SWITCH: Final = "switch-file"
RESTORE: Final = "restore-file"
DISCARD: Final = "discard-file"

CONTENT: Final = "file"
"""Name of the content among the resources of a payload."""

UNREADABLE: Final = "file-unreadable"
"""Code of the finding that a file could not be read: nothing is known of it."""

UNFIT: Final = "file-unfit"
"""Code of the finding that a file cannot become the desired one without losing what is not ours."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FileArguments(TypedArguments):
    """What every step about a file needs.

    Args:
        entry: name of the file in the host configuration.
        host: of the node's endpoint.
        before: digest of the file when the step was planned.
        after: digest of the file after the delivery, or after the undo.
        shown: values that the plain form has instead of the exact ones, since anybody who sees a plan could
            test guesses of a secret against a digest.
        started: text of the last start of the product that reads the file, when the step was planned; empty
            where it showed none. After another one, the file gets no other content by this step.
        started_command: of the host, which prints that text; empty where it does not matter.
        started_values: placeholder of that command -> text.
    """

    entry: str
    host: str
    before: str
    after: str
    shown: Mapping[str, str] = field(default_factory=dict, metadata=OMITTED)
    started: str = field(default="", metadata=OMITTED)
    started_command: str = field(default="", metadata=OMITTED)
    started_values: Mapping[str, str] = field(default_factory=dict, metadata=OMITTED)

    @property
    def host_commands(self) -> tuple[str, ...]:
        return (self.started_command,) if self.started_command else ()

    def plain(self) -> dict[str, Any]:
        found = TypedArguments.plain(self)
        found |= found.pop("shown", {})
        return found

    def exact_values(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in self.shown}

    def at(self, node: str) -> FilePlace:
        """The file."""
        return FilePlace(self.entry, node, self.host)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StageArguments(FileArguments):
    """A content is written aside and checked.

    Args:
        payload: digest of the payload.
    """

    payload: str

    @property
    def payload_digest(self) -> str:
        return self.payload

    @property
    def is_preparation(self) -> bool:
        return True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SwitchArguments(FileArguments):
    """The staged content takes the place of the file.

    Args:
        intent_facts: node -> key -> value that the store keeps from the intent on, such as which process
            still uses the former content.
    """

    intent_facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict, metadata=OMITTED)

    @property
    def facts_of_intent(self) -> Mapping[str, Mapping[str, str]]:
        return self.intent_facts


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RestoreArguments(FileArguments):
    """The backup becomes the file again."""

    @property
    def is_preparation(self) -> bool:
        return True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DiscardArguments(FileArguments):
    """What lies beside the file is removed."""


FILE_ACTIONS: Final[Mapping[str, type[FileArguments]]] = MappingProxyType(
    {STAGE: StageArguments, SWITCH: SwitchArguments, RESTORE: RestoreArguments, DISCARD: DiscardArguments}
)
"""Action -> the type of its arguments, for `Driver.actions`."""


def is_file_step(step: Step) -> bool:
    """Whether a step is about a file, and so handled by the functions of this module."""
    return step.action in FILE_ACTIONS


def read_file_arguments(step: Step) -> FileArguments:
    """The arguments of a step about a file.

    Raises:
        UnreadableArguments: they have another form.
    """
    return read_arguments(step.arguments, FILE_ACTIONS[step.action])


@dataclass(frozen=True, slots=True, kw_only=True)
class FileWish:
    """A file as it is desired.

    Args:
        cluster: that has the node.
        place: the file.
        content: what of it is desired.
        effect: of the switch on the running product; none if it reads the file only when it starts.
        risk: of the switch.
        risk_reason: why the switch has this risk.
        settle: seconds in which a step must become visible.
        in_flight: seconds for which a call without an answer may still take effect.
        facts: key -> value that the store keeps of the node from the intent of the switch on.
        started: text of the last start of the product; empty where it is not known, or does not matter.
        started_command: of the host, which prints that text.
        started_values: placeholder of that command -> text.
    """

    cluster: str
    place: FilePlace
    content: FileContent
    facts: Mapping[str, str] = field(default_factory=dict)
    effect: Effect = Effect.NONE
    risk: Risk = Risk.LOW
    risk_reason: str = "what runs has read the file before, and reads it again only when it starts"
    settle: float = 10.0
    in_flight: float = IN_FLIGHT
    started: str = ""
    started_command: str = ""
    started_values: Mapping[str, str] = field(default_factory=dict)

    def bound_flight(self, state: FileState) -> float:
        """Seconds for which a call without an answer may still take effect."""
        # Of a broken call one program may go on, and the check before it may have taken its whole time.
        return min(self.in_flight, 2 * state.timeout) if state.timeout else self.in_flight

    def make_id(self, action: str) -> str:
        """The id of a step about it."""
        return f"{self.cluster}/{self.place.node}/{action}/{self.place.entry}"


@dataclass(frozen=True, slots=True)
class FilePlan:
    """What is to be done about one file.

    Args:
        steps: in order; empty if the file is as desired or nothing is known of it.
        payloads: of the steps.
        findings: why nothing can be planned.
        after: ids for `after` of the driver's own step, such as a restart that brings the file in.
        way_back: the step that brings the backup of a file that is as desired back, for a product that does
            not start with it; empty without a backup.
        digest: of the file as desired, which a restart brings in; None if nothing is known of the file.
    """

    steps: tuple[Step, ...] = ()
    payloads: Mapping[str, Payload] = field(default_factory=dict)
    findings: tuple[Diagnostic, ...] = ()
    after: tuple[str, ...] = ()
    digest: str | None = None
    way_back: tuple[Step, ...] = ()

    @property
    def is_changed(self) -> bool:
        """Whether the file gets another content."""
        return bool(self.after)


def plan_file(wish: FileWish, reading: FileReading | None, *, after: Sequence[str] = ()) -> FilePlan:
    """The steps from a file as it was read to the desired one.

    Args:
        wish: the file as desired.
        reading: of this pass; None if it was not read.
        after: ids of steps that must succeed before the file is switched, such as a drain.
    """
    if not isinstance(reading, Present):
        why = "it was not read" if reading is None else reading.reason
        remedy = (reading.remedy if reading else "") or "make the file readable for this host, then run again"
        return FilePlan(findings=(_report(wish, UNREADABLE, _say_unread(wish.place.entry, why), remedy),))
    state = reading.value
    try:
        content = wish.content.render(state.content)
        changes = wish.content.find_changes(state.content, wish.place.entry)
        shown = {
            "before": wish.content.fingerprint(state.content),
            "after": wish.content.fingerprint(content),
        }
    except UnfitFile as error:
        remedy = "correct the file by hand, or own the whole file"
        return FilePlan(findings=(_report(wish, UNFIT, str(error), remedy),))
    digest = compute_file_digest(content)
    if digest == state.digest:
        way_back = _plan_way_back(wish, state, shown)
        return FilePlan(_plan_cleanup(wish, state, shown), digest=digest, way_back=way_back)
    if state.content is None:
        shown["before"] = NO_FILE
    if not changes:
        pointer = make_pointer((wish.place.entry,))
        changes = (Change(pointer, Op.REPLACE, old="(line ends or spaces)", new="(as desired)"),)
    stage, payload = _plan_stage(wish, state, content, shown, changes)
    switch = _plan_switch(wish, state, digest, shown, (stage.id, *after))
    return FilePlan((stage, switch), {stage.payload: payload}, after=(switch.id,), digest=digest)


def _plan_stage(
    wish: FileWish, state: FileState, content: bytes, shown: Mapping[str, str], changes: tuple[Change, ...]
) -> tuple[Step, Payload]:
    entry, node, secrets = wish.place.entry, wish.place.node, wish.content.secrets
    # With the node: two payloads that differ in a secret alone must not share a digest.
    digest = fingerprint(["file", entry, node, shown["after"]])
    arguments = StageArguments(
        entry=entry,
        host=wish.place.host,
        before=state.digest,
        after=compute_file_digest(content),
        shown=shown,
        payload=digest,
    )
    reused = (
        " (it lies there already, checked, from a run that did not come to its end)"
        if state.staged == arguments.after
        else ""
    )
    what = "does not exist" if state.content is None else "differs"
    step = Step(
        id=wish.make_id(STAGE),
        cluster=wish.cluster,
        node=node,
        action=STAGE,
        arguments=arguments,
        reason=f"the file {entry} of {node} {what}; its content is written aside and checked{reused}",
        effect=Effect.NONE,
        risk=Risk.LOW,
        risk_reason="the file itself stays as it is",
        needs=f"the file {entry} is as it was read",
        inverse=Inverse("remove what was written aside", DISCARD),
        changes=changes,
        settle=wish.settle,
        in_flight=wish.bound_flight(state),
    )
    payload = Payload({"secrets": list(secrets)}, {CONTENT: content}, missing=wish.content.missing)
    return step, payload


def _plan_switch(
    wish: FileWish, state: FileState, digest: str, shown: Mapping[str, str], after: tuple[str, ...]
) -> Step:
    entry, node = wish.place.entry, wish.place.node
    back = "restore the backup of the file" if state.content is not None else "remove the new file"
    return Step(
        id=wish.make_id(SWITCH),
        cluster=wish.cluster,
        node=node,
        action=SWITCH,
        arguments=SwitchArguments(
            entry=entry,
            host=wish.place.host,
            before=state.digest,
            after=digest,
            shown=shown,
            intent_facts={node: wish.facts} if wish.facts else {},
            started=wish.started,
            started_command=wish.started_command,
            started_values=wish.started_values,
        ),
        reason=f"the file {entry} of {node} gets the content that was written aside",
        effect=wish.effect,
        risk=wish.risk,
        risk_reason=wish.risk_reason,
        needs=f"the file {entry} is as it was read, and the new content is written aside and checked",
        inverse=Inverse(back, RESTORE),
        after=after,
        settle=wish.settle,
        in_flight=wish.bound_flight(state),
    )


def _plan_cleanup(wish: FileWish, state: FileState, shown: Mapping[str, str]) -> tuple[Step, ...]:
    """The step that removes what a killed run left beside a file that is as desired."""
    if not state.staged and not state.leftover:
        return ()
    entry, node = wish.place.entry, wish.place.node
    return (
        Step(
            id=wish.make_id(DISCARD),
            cluster=wish.cluster,
            node=node,
            action=DISCARD,
            arguments=DiscardArguments(
                entry=entry, host=wish.place.host, before=state.digest, after=state.digest, shown=shown
            ),
            reason=f"an earlier run left content beside the file {entry} of {node}, which nothing needs",
            effect=Effect.NONE,
            risk=Risk.LOW,
            risk_reason="the file itself stays as it is",
            needs="nothing",
            inverse=Inverse("point of no return: nothing needs what is removed"),
            settle=wish.settle,
            in_flight=wish.bound_flight(state),
        ),
    )


def _plan_way_back(wish: FileWish, state: FileState, shown: Mapping[str, str]) -> tuple[Step, ...]:
    """The step that makes the backup the file again."""
    if state.backup in {NO_FILE, state.digest}:
        return ()
    entry, node = wish.place.entry, wish.place.node
    back = {"before": shown["after"], "after": f"before {shown['after']}"}
    return (
        Step(
            id=wish.make_id(RESTORE),
            cluster=wish.cluster,
            node=node,
            action=RESTORE,
            arguments=RestoreArguments(
                entry=entry,
                host=wish.place.host,
                before=state.digest,
                after=state.backup,
                shown=back,
                started=wish.started,
                started_command=wish.started_command,
                started_values=wish.started_values,
            ),
            reason=f"the file {entry} of {node} gets its former content again, which lies beside it",
            effect=wish.effect,
            risk=wish.risk,
            risk_reason=wish.risk_reason,
            needs=f"the file {entry} is as it was read, and its backup too",
            inverse=Inverse("deliver it again", STAGE),
            settle=wish.settle,
            in_flight=wish.bound_flight(state),
        ),
    )


def judge_file_step(step: Step, seen: Observed[Any]) -> StepVerdict:
    """The status of a step about a file, from `read_step_file`."""
    own = read_file_arguments(step)
    reading = seen.files.get(step.node, {}).get(own.entry, Unreachable("it was not read"))
    if not isinstance(reading, Present):
        words = f"the file {own.entry} {_say_unread(own.entry, describe_unread(reading))}"
        return StepVerdict(StepStatus.UNKNOWN, words)
    state = reading.value
    match own:
        case StageArguments():
            return _judge_stage(own, state)
        case SwitchArguments():
            return _judge_start(own, _judge_switch(own, state), seen.starts.get(step.node, ""))
        case RestoreArguments():
            return _judge_start(own, _judge_restore(own, state), seen.starts.get(step.node, ""))
    if state.staged or state.leftover:
        return StepVerdict(StepStatus.READY, f"content lies beside the file {own.entry}")
    return StepVerdict(StepStatus.DONE, f"nothing lies beside the file {own.entry}")


def _judge_stage(own: StageArguments, state: FileState) -> StepVerdict:
    if state.digest == own.after:
        return StepVerdict(StepStatus.DONE, f"the file {own.entry} has the new content already")
    if state.digest != own.before:
        return _report_other_content(own)
    if state.staged == own.after and not state.leftover:
        return StepVerdict(StepStatus.DONE, f"the new content of {own.entry} is written aside and checked")
    return StepVerdict(StepStatus.READY, f"the file {own.entry} is as it was read")


def _judge_start(own: FileArguments, verdict: StepVerdict, started: str) -> StepVerdict:
    """The same verdict, unless the product was started since the plan was made."""
    # A later step takes another start than the planned one for a proof that the new content is used.
    if verdict.status is StepStatus.READY and own.started_command and started and started != own.started:
        return StepVerdict(StepStatus.CHANGED, "the node was started again since the plan was made")
    return verdict


def _judge_switch(own: SwitchArguments, state: FileState) -> StepVerdict:
    if state.digest == own.after:
        return StepVerdict(StepStatus.DONE, f"the new content of {own.entry} is in place")
    if state.digest != own.before:
        return _report_other_content(own)
    if state.staged != own.after:
        words = f"the new content of {own.entry} is not written aside any more"
        return StepVerdict(StepStatus.CHANGED, words)
    return StepVerdict(StepStatus.READY, f"the file {own.entry} is as it was read")


def _judge_restore(own: RestoreArguments, state: FileState) -> StepVerdict:
    if state.digest == own.after:
        return StepVerdict(StepStatus.DONE, f"the file {own.entry} is as it was before the delivery")
    if state.digest != own.before:
        return _report_other_content(own)
    if own.after not in {NO_FILE, state.backup}:
        return StepVerdict(StepStatus.CHANGED, f"the backup of {own.entry} is not what it was before")
    return StepVerdict(StepStatus.READY, f"the file {own.entry} has the delivered content")


def _report_other_content(own: FileArguments) -> StepVerdict:
    words = f"the file {own.entry} was changed by somebody else since it was read"
    return StepVerdict(StepStatus.CHANGED, words)


async def perform_file_step(
    step: Step, transports: Transports, payloads: Mapping[str, Payload]
) -> StepAnswer:
    """Perform a step about a file, once.

    Raises:
        NodeError: the call failed; a reading finds out whether it had an effect.
    """
    own = read_file_arguments(step)
    place, files = own.at(step.node), transports.files
    match own:
        case StageArguments():
            return StepAnswer(await files.stage(place, payloads[own.payload].resources[CONTENT]))
        case SwitchArguments():
            call = partial(files.switch, place, before=own.before, after=own.after)
            return await _replace_file(call, own, step, transports)
        case RestoreArguments():
            call = partial(files.restore, place, before=own.before, after=own.after)
            return await _replace_file(call, own, step, transports)
    return StepAnswer(await files.discard(place))


async def _replace_file(
    call: Callable[[], Awaitable[str]], own: FileArguments, step: Step, transports: Transports
) -> StepAnswer:
    """Give the file another content, unless the product was started since the plan was made.

    Such a start would look as if the product had read the new content.
    """
    if not own.started_command:
        return StepAnswer(await call())
    values = {step.node: own.started_values}

    async def read_start() -> str:
        return (await read_starts(transports.commands, own.started_command, values)).get(step.node, "")

    if (now := await read_start()) != own.started:
        why = "was started again since the plan was made" if now else "does not show when it was started"
        reason = f"it {why}, so that {own.entry} keeps its content"
        raise NodeRefused(step.node, reason, status=0, code="STARTED", again=True)
    words = await call()
    # A start in this moment may have read either content: it counts as one that uses the former.
    after = await read_start()
    facts = own.facts_of_intent.get(step.node, {}) if after and after != own.started else {}
    return StepAnswer(
        words, facts={key: after for key, text in facts.items() if text == (own.started or UNREAD_START)}
    )


def undo_file_step(step: Step, observed: Observed[Any]) -> Undo | None:
    """The step that undoes a completed one; None if there is nothing to undo.

    Args:
        step: of the plan, performed and effective.
        observed: the observations of the plan.
    """
    own = read_file_arguments(step)
    shown = own.shown
    back = {"before": shown["after"], "after": shown["before"]} if {"before", "after"} <= shown.keys() else {}
    match own:
        case StageArguments():
            arguments: FileArguments = DiscardArguments(
                entry=own.entry, host=own.host, before=own.before, after=own.before
            )
            reason, inverse = (
                f"removes what was written aside of {own.entry}",
                Inverse("stage it again", STAGE),
            )
        case SwitchArguments():
            reading = observed.files.get(step.node, {}).get(own.entry)
            # Without the reading of the plan, nothing shows that `before` is what the backup must be.
            if not isinstance(reading, Present) or reading.value.digest != own.before:
                return None
            arguments = RestoreArguments(
                entry=own.entry, host=own.host, before=own.after, after=own.before, shown=back
            )
            reason, inverse = f"takes back the content of {own.entry}", Inverse("deliver it again", STAGE)
        case _:
            return None
    action = next(name for name, kind in FILE_ACTIONS.items() if kind is type(arguments))
    undo = replace(
        step,
        action=action,
        arguments=arguments,
        reason=reason,
        needs="the file has the content that this run delivered",
        inverse=inverse,
        changes=(),
    )
    return undo, {}


def fingerprint_file_purpose(step: Step) -> str:
    """Fingerprint of the purpose of a step about a file, for `Driver.fingerprint_purpose`."""
    own = read_file_arguments(step)
    return fingerprint([step.action, step.node, own.entry, own.after])


def fingerprint_file_differences(step: Step, observed: Observed[Any]) -> Mapping[str, str]:
    """What a step about a file finds, for `Driver.fingerprint_differences`."""
    own = read_file_arguments(step)
    reading = observed.files.get(step.node, {}).get(own.entry)
    shown = reading.value.digest if isinstance(reading, Present) else ""
    return {make_pointer((own.entry,)): fingerprint(shown)[:16]}


def _say_unread(entry: str, reason: str) -> str:
    """Why a file could not be read, to follow its name: most reasons name it themselves."""
    subject = f"the file {entry} "
    return reason.removeprefix(subject) if reason.startswith(subject) else f"cannot be read: {reason}"


def _report(wish: FileWish, code: str, why: str, remedy: str) -> Diagnostic:
    words = f"the file {wish.place.entry} of {wish.place.node} {why}"
    return Diagnostic(Severity.ERROR, code, words, remedy, target=f"{wish.cluster}/{wish.place.node}")
