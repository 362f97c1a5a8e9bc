"""Every error that the program raises on purpose, by who has to act on it.

    ReconcilerError
    ├── InputError            correct a file (a list of positions and messages)
    ├── UsageError            correct the command line
    ├── SourceError           correct the source: a ref, a key, an archive
    │   ├── SourceUnreachable   retry: the source did not answer
    │   └── UntrustedRevision   check a signature: nothing was used
    ├── NodeError             one call to one node failed
    │   ├── NodeUnreachable     retry: no answer, or an incomplete one
    │   │   ├── NodeUnidentified  correct the address: something else answered
    │   │   └── MissingTransport  use a version of the program with the transport that a product needs
    │   ├── NodeUnauthorized    correct the permission
    │   └── NodeRefused         the node understood the call and refused it
    ├── WriteRefused          a defect of this program: a call that may write was stopped
    ├── UnreadableArguments   nobody: a step of another version stays as it is
    ├── SecretError           supply a secret that is missing here
    ├── ForgeError            correct the token, its permission or the address of a forge
    │   └── ForgeUnreachable    retry: the forge did not answer, or asks to wait
    ├── GuardRefusal          read the violations: nothing was done
    ├── FleetRefused          decide on the host to which fleet the memory belongs: nothing was done
    ├── WorldChanged          plan again: the plan no longer fits
    │   ├── ReservedMeanwhile   nobody: the step is judged again, with the new reservation
    │   └── SuspendedMeanwhile  resume the cluster when its steps may be sent again
    └── StateError            correct the state directory
        └── ClusterBusy         retry: another run is changing the cluster
            └── RunFenced         nobody: a later run has taken the cluster over from this one

Command-line code turns them into a message and an exit status at one place, `reconciler.cli.main`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from reconciler.exit_status import ExitStatus

if TYPE_CHECKING:  # the start of the program needs errors, and not what data classes load
    from reconciler.diagnostic import Diagnostic

_SERVER_ERROR = 500
_TRY_LATER = frozenset({408, 425, 429})
"""Statuses below 500 that ask for the same call again, later (RFC 9110, 8470, 6585)."""


def _is_no(status: int) -> bool:
    """Whether an HTTP status refuses the same call for good: a redirect or a 4xx."""
    return 300 <= status < _SERVER_ERROR and status not in _TRY_LATER  # noqa: PLR2004


class ReconcilerError(Exception):
    """An error that somebody has to know; `exit_status` is that of the command line.

    Args:
        message: what is wrong and where, one sentence without a final stop.
        remedy: what to do about it, one sentence; empty if nothing helps.
    """

    exit_status: ClassVar[int] = ExitStatus.ERROR

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class InputError(ReconcilerError):
    """Files of the desired state are not valid; `problems` lists every problem with its position."""

    def __init__(self, problems: Sequence[Diagnostic]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class UsageError(ReconcilerError):
    """The command line or an environment variable asks for something impossible."""


class SourceError(ReconcilerError):
    """The source of desired state cannot be used as it is."""


class SourceUnreachable(SourceError):
    """The source did not answer; what was applied stays, and a retry may succeed."""


class UntrustedRevision(SourceError):
    """The revision is not signed by a signer that this host accepts."""

    exit_status = ExitStatus.REFUSED


class NodeError(ReconcilerError):
    """One call to one node did not succeed.

    Args:
        node: the node's name or address as the operator knows it.
        reason: why, without the node's name.
    """

    def __init__(self, node: str, reason: str, *, remedy: str = "") -> None:
        super().__init__(f"{node}: {reason}", remedy=remedy)
        self.node = node
        self.reason = reason

    def reword(self, reason: str) -> None:
        """Give another reason, in which secrets are masked, wherever the error shows it."""
        self.reason = reason
        self.message = f"{self.node}: {reason}"
        self.args = (self.message,)

    @property
    def is_lost(self) -> bool:
        """Whether the call may have reached the node, and may still take effect: it was not answered."""
        return False

    @property
    def is_final(self) -> bool:
        """Whether the same call would be refused again, so that another attempt is useless."""
        return False


class NodeUnreachable(NodeError):
    """No answer, an incomplete one, or one that is not the product's.

    Args:
        sign: what the failed call says about the address, one of `core.observation.Liveness`. Only the
            transport knows whether something accepted the connection.
        sent: whether the request may have reached the node; False if there was no connection.
        status: HTTP status of an answer that is not the product's; 0 for no answer.
        closed: whether the connection was closed before any part of an answer came.
    """

    def __init__(
        self,
        node: str,
        reason: str,
        *,
        remedy: str = "",
        sign: str = "unasked",
        sent: bool = True,
        status: int = 0,
        closed: bool = False,
    ) -> None:
        super().__init__(node, reason, remedy=remedy)
        self.sign = sign
        self.sent = sent
        self.status = status
        self.closed = closed

    @property
    def is_lost(self) -> bool:
        """Whether a request was sent and its effect is unknown."""
        return self.sent and not _is_no(self.status)

    @property
    def is_final(self) -> bool:
        """Whether something else than the product answered with a definite refusal."""
        return _is_no(self.status)


class NodeUnidentified(NodeUnreachable):
    """What answered is not the product, or does not prove it; the effect of the call is unknown."""


class MissingTransport(NodeUnreachable):
    """A product needs a transport that this program does not have; nothing was sent.

    Args:
        subject: the node or the cluster that cannot be reached.
        way: one of `ports.transport.TransportKind`.
    """

    def __init__(self, subject: str, way: str) -> None:
        super().__init__(
            subject,
            f"this program has no transport '{way}' to reach it",
            remedy=f"remove it, or use a version of this program with the transport '{way}'",
            sent=False,
        )


class WriteRefused(ReconcilerError):
    """A call that may change a node was made where only reading is allowed; nothing was sent."""


class NodeUnauthorized(NodeError):
    """The node does not allow this host to make the call."""

    @property
    def is_final(self) -> bool:
        """Always: the permission has to be given first."""
        return True


class NodeRefused(NodeError):
    """The node answered that it refuses the call.

    Args:
        status: HTTP status of the answer.
        code: the product's own error code, empty if there is none.
        again: the same call may succeed at another time, whatever the code.
    """

    def __init__(
        self, node: str, reason: str, *, status: int, code: str = "", remedy: str = "", again: bool = False
    ) -> None:
        super().__init__(node, reason, remedy=remedy)
        self.status = status
        self.code = code
        self.again = again

    @property
    def is_lost(self) -> bool:
        """Whether it is a 5xx without the product's own code."""
        # Such an answer may come from a proxy on the way that gave up, while the node still works on the
        # call.
        return not self.code and self.status >= _SERVER_ERROR

    @property
    def is_final(self) -> bool:
        """Whether the product's own code, a redirect or a 4xx refuses it."""
        return not self.again and (bool(self.code) or _is_no(self.status))


class UnreadableArguments(ReconcilerError):
    """The stored arguments of a step have a form that this program does not read.

    Args:
        why: the reason, without "the arguments".
    """

    def __init__(self, why: str) -> None:
        super().__init__(f"the arguments of the step are not readable: {why}")
        self.why = why


class SecretError(ReconcilerError):
    """A secret that the desired state refers to is not available here."""


class InventoryError(ReconcilerError):
    """A cloud did not give a complete list of instances; which instances there are is not known."""


class ForgeError(ReconcilerError):
    """A forge refused a call, or what answered is none.

    Args:
        status: HTTP status of the answer; 0 if there is no valid one.
    """

    def __init__(self, message: str, *, remedy: str = "", status: int = 0) -> None:
        super().__init__(message, remedy=remedy)
        self.status = status


class ForgeUnreachable(ForgeError):
    """A forge did not answer, or asks to wait; the same call may succeed later.

    Args:
        wait: seconds that it asks to wait; 0 if it names none.
    """

    def __init__(self, message: str, *, remedy: str = "", status: int = 0, wait: float = 0.0) -> None:
        super().__init__(message, remedy=remedy, status=status)
        self.wait = wait


class GuardRefusal(ReconcilerError):
    """A guard refused the plan before its first step; `violations` has the reasons."""

    exit_status = ExitStatus.REFUSED

    def __init__(self, violations: Sequence[Diagnostic]) -> None:
        self.violations = tuple(violations)
        super().__init__("\n".join(violation.message for violation in self.violations))


class FleetRefused(ReconcilerError):
    """It is not certain to which fleet of the host a revision belongs; no node was read."""

    exit_status = ExitStatus.REFUSED


class WorldChanged(ReconcilerError):
    """The nodes or the source are no longer what the plan was made from."""

    exit_status = ExitStatus.CHANGED


class ReservedMeanwhile(WorldChanged):
    """A node of the cluster was reserved after a step was judged; nothing was sent."""


class SuspendedMeanwhile(WorldChanged):
    """The cluster was suspended after a step was judged; nothing was sent."""


class StateError(ReconcilerError):
    """The state directory cannot be read, written or locked."""


class ConfirmedWritesLost(StateError):
    """The store shows less than it had confirmed, so that calls which it has forgotten may have been made."""


class ClusterBusy(StateError):
    """Another run holds the cluster's lock; it is released when that run ends, also by a kill."""


class RunFenced(ClusterBusy):
    """A later run has taken the cluster over while this one was suspended; this one writes nothing more."""
