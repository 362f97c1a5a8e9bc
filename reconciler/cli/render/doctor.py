"""The result of `reconcile doctor` as text and JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final

from pydantic import Field, with_config
from typing_extensions import TypedDict

from reconciler.cli.render.json import format_json
from reconciler.cli.render.text import PLAIN, TerminalLayout, Tone
from reconciler.core.diagnostic_json import EXTENSIBLE
from reconciler.core.fields import Whole
from reconciler.core.json_schema import Schema, SchemaTitle, make_schema
from reconciler.descriptions.values import format_count
from reconciler.doctor.findings import DoctorFinding, DoctorReport, FindingState, Topic

_TONES: Final = {
    FindingState.OK: Tone.ADD,
    FindingState.WARNING: Tone.CHANGE,
    FindingState.ERROR: Tone.DANGER,
    FindingState.NOT_CHECKED: Tone.QUIET,
}


@with_config(EXTENSIBLE)
class DoctorFindingShape(TypedDict):
    """One thing that was looked at."""

    topic: Annotated[Topic, Field(description="What it is about.")]
    state: Annotated[FindingState, Field(description="How it is.")]
    what: Annotated[str, Field(description="One sentence; of what was not checked, the reason.")]
    where: Annotated[str, Field(description="File, node or name; empty if the sentence says it.")]
    remedy: Annotated[str, Field(description="What to do; empty if nothing is wrong.")]


@with_config(EXTENSIBLE)
class DoctorShape(TypedDict):
    """All findings, and how many there are of each state."""

    findings: Annotated[list[DoctorFindingShape], Field(description="In the order of their topics.")]
    errors: Annotated[Whole, Field(description="Findings that are errors.")]
    warnings: Annotated[Whole, Field(description="Findings that are warnings.")]
    not_checked: Annotated[Whole, Field(description="Things that were not checked.")]
    exit_status: Annotated[Whole, Field(description="Exit status of the command.", examples=[0, 1])]


DOCTOR_OUTPUT: Final = SchemaTitle(
    "doctor", "Checks of a management host", "Output of `reconcile doctor --format json`."
)


def make_doctor_schema() -> Schema:
    """The schema of the output of `--format json`."""
    return make_schema(DoctorShape, DOCTOR_OUTPUT)


def render_doctor_json(report: DoctorReport) -> str:
    """The findings as JSON."""
    return format_json(_to_plain_report(report))


def _to_plain_report(report: DoctorReport) -> dict[str, Any]:
    return {
        "findings": [
            {
                "topic": one.topic,
                "state": one.state,
                "what": one.what,
                "where": one.where,
                "remedy": one.remedy,
            }
            for one in report.findings
        ],
        "errors": report.count(FindingState.ERROR),
        "warnings": report.count(FindingState.WARNING),
        "not_checked": report.count(FindingState.NOT_CHECKED),
        "exit_status": int(report.exit_status),
    }


def render_doctor_text(report: DoctorReport, *, layout: TerminalLayout = PLAIN) -> str:
    """The findings by topic, and a summary in the last line."""
    return "\n".join([*_list_lines(report, layout), "", _summarise(report, layout)]) + "\n"


def _list_lines(report: DoctorReport, layout: TerminalLayout) -> Iterator[str]:
    topic = None
    for one in report.findings:
        if one.topic is not topic:
            topic = one.topic
            yield layout.paint(str(topic), Tone.STRONG)
        yield from _list_finding_lines(one, layout)


def _list_finding_lines(one: DoctorFinding, layout: TerminalLayout) -> Iterator[str]:
    place = f"{one.where}: " if one.where else ""
    yield from layout.wrapped(f"{one.state}: {place}{one.what}", 2, _TONES[one.state], hang=2)
    if one.remedy:
        yield from layout.wrapped(f"→ {one.remedy}", 4, hang=2)


def _summarise(report: DoctorReport, layout: TerminalLayout) -> str:
    errors, warnings = report.count(FindingState.ERROR), report.count(FindingState.WARNING)
    counts = f"{format_count(errors, 'error')}, {format_count(warnings, 'warning')}"
    missing = report.count(FindingState.NOT_CHECKED)
    counts += f", {missing} not checked" if missing else ""
    if errors:
        return layout.paint(f"{counts}.", Tone.DANGER)
    return layout.paint(f"{counts}.", Tone.CHANGE if warnings else Tone.ADD)
