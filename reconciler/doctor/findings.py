"""What `reconcile doctor` found: one finding for each thing that it looked at; pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from reconciler.errors import InputError, ReconcilerError
from reconciler.exit_status import ExitStatus
from reconciler.secrets.redaction import Redactor
from reconciler.text.one_line import make_one_line

_LONGEST: Final = 600
"""Characters of one text of a finding."""

_SOLVE: Final = "remove the cause that the message names, and run the command again"
_CORRECT: Final = "correct the file; `reconcile validate` checks those of a fleet"

_MOST_PROBLEMS: Final = 5
"""Problems of a file that are shown; `reconcile validate` shows all."""


class Topic(StrEnum):
    """What a check is about, in the order in which the results are shown."""

    VERSIONS = "versions"
    CONFIGURATION = "host configuration"
    PERMISSIONS = "permissions"
    DISK = "disk"
    LIMITS = "limits"
    SERVICE = "service"
    STORE = "store"
    SOURCE = "source"
    PROXY = "proxy"
    NAMES = "names"
    NODES = "nodes"
    CERTIFICATES = "certificates"
    CLOCK = "clock"


class FindingState(StrEnum):
    """How one thing is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class DoctorFinding:
    """One thing that was looked at.

    Args:
        what: how it is, one sentence without a final stop; of what was not checked, the reason.
        where: the file, node or name that it is about; empty if the sentence says it.
        remedy: what to do; empty if nothing is wrong.
    """

    topic: Topic
    state: FindingState
    what: str
    where: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class DoctorReport:
    """All findings, in the order of their topics."""

    findings: tuple[DoctorFinding, ...]

    @classmethod
    def of(cls, findings: Iterable[DoctorFinding], known_secrets: Iterable[str] = ()) -> DoctorReport:
        """Sort the findings, and mask what looks like a secret: a part may quote what somebody else wrote."""
        topics, redactor = list(Topic), Redactor(known_secrets)

        def clean(text: str) -> str:
            return make_one_line(redactor.redact_text(text), _LONGEST)

        sorted_findings = sorted(findings, key=lambda one: topics.index(one.topic))
        return cls(
            tuple(
                replace(one, what=clean(one.what), where=clean(one.where), remedy=clean(one.remedy))
                for one in sorted_findings
            )
        )

    def count(self, state: FindingState) -> int:
        """How many findings have a state."""
        return sum(one.state is state for one in self.findings)

    @property
    def exit_status(self) -> ExitStatus:
        """An error if there is one; warnings, and what could not be checked here, are none."""
        return ExitStatus.ERROR if self.count(FindingState.ERROR) else ExitStatus.DONE


def report_ok(topic: Topic, what: str, where: str = "") -> DoctorFinding:
    """A thing that is as it should be."""
    return DoctorFinding(topic, FindingState.OK, what, where)


def report_warning(topic: Topic, what: str, remedy: str, where: str = "") -> DoctorFinding:
    """A thing that works now, and may fail later."""
    return DoctorFinding(topic, FindingState.WARNING, what, where, remedy)


def report_error(topic: Topic, what: str, remedy: str, where: str = "") -> DoctorFinding:
    """A thing that keeps the program from its work."""
    return DoctorFinding(topic, FindingState.ERROR, what, where, remedy)


def report_unchecked(topic: Topic, why: str, remedy: str = "", where: str = "") -> DoctorFinding:
    """A thing that was not looked at, and why."""
    return DoctorFinding(topic, FindingState.NOT_CHECKED, why, where, remedy)


def list_error_findings(topic: Topic, error: ReconcilerError, where: str = "") -> tuple[DoctorFinding, ...]:
    """The findings for an error of the program; of invalid files one for each of the first problems."""
    if not isinstance(error, InputError):
        return (report_error(topic, error.message, error.remedy or _SOLVE, where),)
    shown = error.problems[:_MOST_PROBLEMS]
    found = [report_error(topic, one.message, one.remedy or _CORRECT, one.where or where) for one in shown]
    if more := len(error.problems) - len(shown):
        found.append(
            report_error(topic, f"{more} more problems in the files", "run `reconcile validate`", where)
        )
    return tuple(found)
