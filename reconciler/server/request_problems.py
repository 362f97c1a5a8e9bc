"""Requests that have a problem as their answer: a page, or in the API the form of RFC 9457."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from reconciler.documents.model_errors import find_model_errors, translate_model_errors
from reconciler.errors import (
    GuardRefusal,
    InputError,
    NodeError,
    ReconcilerError,
    SourceError,
    StateError,
    WorldChanged,
)
from reconciler.server.access.refusal import AccessRefused
from reconciler.text.one_line import bound_sentence

MEDIA_TYPE: Final = "application/problem+json"

_MOST_ERRORS: Final = 20


@dataclass(frozen=True, slots=True)
class WrongValue:
    """A value of a request that is wrong.

    Args:
        pointer: JSON pointer in the body, or name of a parameter.
        detail: what is wrong.
        remedy: what to do; may be empty.
    """

    pointer: str
    detail: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class ProblemAnswer:
    """Why a request has no other answer.

    Args:
        status: of the HTTP answer.
        title: its meaning.
        code: for programs; stable.
        detail: what is wrong, one sentence.
        remedy: what to do; may be empty.
        errors: the values that are wrong.
        type: always `about:blank`: `code` tells the kind.
    """

    status: int
    title: str
    code: str
    detail: str
    remedy: str = ""
    errors: tuple[WrongValue, ...] = ()
    type: str = "about:blank"

    def encode(self) -> bytes:
        """The body of the answer."""
        return _WRITER.dump_json(self)


_WRITER: Final = TypeAdapter(ProblemAnswer)


class RequestProblem(ReconcilerError):
    """A request that has a problem as its answer.

    Args:
        status: of the answer.
        code: for programs.
        headers: of the answer, beside those of every answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        remedy: str = "",
        errors: tuple[WrongValue, ...] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail, remedy=remedy)
        self.status, self.code, self.errors, self.headers = status, code, errors, dict(headers or {})


_BY_KIND: Final[tuple[tuple[type[ReconcilerError], int, str], ...]] = (
    (GuardRefusal, 409, "guard-refusal"),
    (WorldChanged, 409, "world-changed"),
    (StateError, 503, "state-error"),
    (SourceError, 503, "source-error"),
    (InputError, 409, "invalid-files"),
    (NodeError, 503, "node-error"),
)
"""Kind of an error -> status and code; every other error is an order that cannot be given as it is."""


def describe_problem(error: ReconcilerError) -> tuple[ProblemAnswer, dict[str, str]]:
    """The answer for an error, and its headers."""
    headers: dict[str, str] = {}
    errors: tuple[WrongValue, ...] = ()
    match error:
        case RequestProblem():
            status, code, headers, errors = error.status, error.code, error.headers, error.errors
        case AccessRefused():
            status, code = (
                error.status,
                "login-needed" if error.status == HTTPStatus.UNAUTHORIZED else "not-allowed",
            )
            if error.status == HTTPStatus.UNAUTHORIZED:
                headers = {"www-authenticate": "Bearer"}
            if error.wait:
                headers["retry-after"] = str(error.wait)
        case _:
            status, code = next(
                ((found, name) for kind, found, name in _BY_KIND if isinstance(error, kind)), (409, "refused")
            )
    detail = bound_sentence(error.message)
    return (
        ProblemAnswer(status, HTTPStatus(status).phrase, code, detail, bound_sentence(error.remedy), errors),
        headers,
    )


def translate_wrong_values(
    error: ValidationError, kind: type[Any], value: Any, remedy: str
) -> RequestProblem:
    """The answer to values that a model refuses.

    Args:
        error: of the model.
        kind: the model.
        value: what it was given.
        remedy: where a value has none of its own.
    """
    found = translate_model_errors(find_model_errors(error, kind, value), None, "")
    return make_wrong_values(
        [WrongValue(one.pointer, one.message, one.remedy) for one in found[:_MOST_ERRORS]], remedy
    )


def make_wrong_values(found: Sequence[WrongValue], remedy: str) -> RequestProblem:
    """The answer to wrong values; `remedy` counts where the first has none of its own."""
    first = found[0] if found else WrongValue("", "a value is wrong")
    return RequestProblem(
        422, "wrong-values", first.detail, remedy=first.remedy or remedy, errors=tuple(found)
    )
