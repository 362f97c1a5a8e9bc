"""Refusals of requests because of who sends them, or how they arrive."""

from __future__ import annotations

from reconciler.errors import ReconcilerError


class AccessRefused(ReconcilerError):
    """A request is not answered.

    Args:
        status: of the HTTP answer: 401 if a login helps, 403 if not, 429 after too many failures.
        wait: seconds after which another attempt is useful; 0 if waiting does not help.
    """

    def __init__(self, message: str, *, remedy: str, status: int = 403, wait: int = 0) -> None:
        super().__init__(message, remedy=remedy)
        self.status, self.wait = status, wait
