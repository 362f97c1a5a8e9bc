"""Every error the program raises on purpose, each saying who has to act on it.

    ReconcilerError
    ├── InputError            a person mends a file (a list of positions and messages)
    ├── UsageError            a person mends the command line
    ├── SourceError           a person mends the source: a ref, a key, an archive
    │   ├── SourceUnreachable   a retry may help: the source did not answer
    │   └── Untrusted           a person looks at a signature: nothing was used
    ├── NodeError             one call to one node failed
    │   ├── NodeUnreachable     a retry may help: no answer, or not a whole one
    │   │   ├── NodeUnidentified  a person corrects the address: something else answered
    │   │   └── MissingTransport  a person uses a program that has the way to nodes which a product needs
    │   ├── NodeUnauthorized    a person mends the permission
    │   └── NodeRefused         the node understood and said no
    ├── NotReading            a fault of this program: a call that is not reading was kept back
    ├── UnreadableArguments   nobody: a step of another version is left as it is
    ├── SecretError           a person supplies a secret that is missing here
    ├── GuardRefusal          a person reads the verdicts: nothing was done
    ├── FleetRefused          a person says on the host whose memory it is: nothing was done
    ├── WorldChanged          a person plans again: the plan no longer fits
    └── StateError            a person mends the state directory
        └── ClusterBusy         a retry helps: another run is changing the cluster
            └── Fenced            nobody: a later run has taken the cluster over from this one

Command-line code turns them into a message and an exit status at one place, `reconciler.cli.main`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:  # the start of the program needs errors, and not what data classes load
    from reconciler.diagnostic import Diagnostic

_SERVER_ERROR = 500
_TRY_LATER = frozenset({408, 425, 429})
"""Statuses below 500 that ask for the same call again, later (RFC 9110, 8470, 6585)."""


def _is_no(status: int) -> bool:
    """Whether an HTTP status says that the same call will not be taken: a redirect or a 4xx."""
    return 300 <= status < _SERVER_ERROR and status not in _TRY_LATER  # noqa: PLR2004


class ReconcilerError(Exception):
    """Something a person has to know; `exit_status` is what the command line ends with.

    Args:
        message: what is wrong and where, one sentence without a final stop.
        remedy: what to do about it, one sentence; empty where nothing helps.
    """

    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class InputError(ReconcilerError):
    """Files of the desired state are wrong; `problems` lists every one with its position."""

    def __init__(self, problems: Sequence[Diagnostic]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class UsageError(ReconcilerError):
    """The command line or an environment variable asks for something impossible."""


class SourceError(ReconcilerError):
    """The source of desired state cannot be used as it is."""


class SourceUnreachable(SourceError):
    """The source did not answer; what was applied stays, and the next try may succeed."""


class UntrustedRevision(SourceError):
    """The revision is not signed by anybody whose signature counts on this host."""

    exit_status = 3


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
        """Whether the node may have got the call and may still work on it: nobody answered for it."""
        return False

    @property
    def is_final(self) -> bool:
        """Whether the same call would be refused again, so that a second try is not worth it."""
        return False


class NodeUnreachable(NodeError):
    """No answer, or not a whole one, or one that is not the product's.

    Args:
        sign: what the attempt tells of the address all the same: `silent`, `alive` or `unasked`, as
            `core.observation.Liveness` has them. Only the transport knows that nothing took the connection.
        sent: whether the request may have reached the node; False where no connection came about.
        status: HTTP status of an answer that is not the product's; 0 where none came.
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
        """Whether a request went out and nothing tells what became of it."""
        return self.sent and not _is_no(self.status)

    @property
    def is_final(self) -> bool:
        """Whether something answered a definite no in the product's place."""
        return _is_no(self.status)


class NodeUnidentified(NodeUnreachable):
    """What answered is not the product, or is not shown to be; whether a call had an effect is not known."""


class MissingTransport(NodeUnreachable):
    """A product needs a way to its nodes that this program does not have; nothing was sent.

    Args:
        subject: the node or the cluster that cannot be reached.
        way: one of `ports.transport.TransportKind`.
    """

    def __init__(self, subject: str, way: str) -> None:
        super().__init__(
            subject,
            f"this program has no transport '{way}' to reach it",
            remedy=f"leave it out, or use a version of this program with the transport '{way}'",
            sent=False,
        )


class WriteRefused(ReconcilerError):
    """A call that may change a node was tried where only reading is possible; nothing was sent."""


class NodeUnauthorized(NodeError):
    """The node does not let this host make the call."""

    @property
    def is_final(self) -> bool:
        """Always: permission has to be given first."""
        return True


class NodeRefused(NodeError):
    """The node answered that it will not do it.

    Args:
        status: HTTP status of the answer.
        code: the product's own error code, empty where there is none.
        again: the same call may be taken at another time, whatever the code.
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
        """Whether it is a plain 5xx: it may come from something on the way, while the node still works."""
        return not self.code and self.status >= _SERVER_ERROR

    @property
    def is_final(self) -> bool:
        """Whether the product's own code, a redirect or a 4xx says no."""
        return not self.again and (bool(self.code) or _is_no(self.status))


class UnreadableArguments(ReconcilerError):
    """The arguments of a step that was written down are not of a form that this program reads.

    Args:
        why: the reason, without "the arguments".
    """

    def __init__(self, why: str) -> None:
        super().__init__(f"the arguments of the step are not readable: {why}")
        self.why = why


class SecretError(ReconcilerError):
    """A secret that the desired state refers to cannot be had here."""


class GuardRefusal(ReconcilerError):
    """A guard refused the plan before its first step; `violations` says why."""

    exit_status = 3

    def __init__(self, violations: Sequence[Diagnostic]) -> None:
        self.violations = tuple(violations)
        super().__init__("\n".join(violation.message for violation in self.violations))


class FleetRefused(ReconcilerError):
    """Whose memory a revision goes on with is not sure; nothing was asked of any node."""

    exit_status = 3


class WorldChanged(ReconcilerError):
    """The nodes or the source are no longer what the plan was made from."""

    exit_status = 4


class StateError(ReconcilerError):
    """The state directory cannot be read, written or locked."""


class ClusterBusy(StateError):
    """Another run holds the cluster's lock; its end releases it, however it ends."""


class RunFenced(ClusterBusy):
    """A later run has taken the cluster over while this one stood still; this one writes no more."""
