"""Reads the values of an act, as a form or a body of the API has them."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from reconciler.api.acts import Act
from reconciler.server.request_problems import WrongValue, make_wrong_values, translate_wrong_values


def parse_act(kind: type[Act[Any]], value: Any, remedy: str) -> Act[Any]:
    """The act of a request.

    Args:
        kind: of the act.
        value: its values.
        remedy: what to do about a wrong value that tells nothing better.

    Raises:
        RequestProblem: a value is unknown, missing or wrong.
    """
    if not isinstance(value, dict):
        raise make_wrong_values([WrongValue("", "the body must be a JSON object")], remedy)
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise translate_wrong_values(error, kind, value, remedy) from None
