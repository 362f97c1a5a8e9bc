"""Pydantic's errors in plain words."""

from typing import Annotated

import pytest
from pydantic import BaseModel, Field, ValidationError

from reconciler.documents.model_errors import describe_first_error, find_model_errors, translate_model_errors


class Settings(BaseModel):
    purge: Annotated[bool, Field(strict=True, description="Purge cached content. Rarely needed.")] = False
    limit: Annotated[int, Field(ge=1, description="Requests at the same time.")] = 1


def refused(value):
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(value)
    return caught.value


@pytest.mark.parametrize(
    ("value", "message", "remedy"),
    [
        ({"purge": 1}, "`purge` must be `true` or `false`, got `1`", "write `true`"),
        ({"purge": "off"}, "`purge` must be `true` or `false`, got the text `off`", "write `false`"),
        (
            {"purge": []},
            "`purge` must be `true` or `false`, got an empty list",
            "`purge`: purge cached content",
        ),
        ({"limit": 0}, "`limit` must be at least 1, got `0`", "`limit`: requests at the same time"),
    ],
)
def test_the_remedy_is_the_right_spelling_or_describes_the_key(value, message, remedy):
    (problem,) = translate_model_errors(find_model_errors(refused(value), Settings, value), None, "")
    assert (problem.message, problem.remedy) == (message, remedy)


def test_the_first_error_is_described_without_the_value_and_in_plain_words():
    assert describe_first_error(refused({"limit": 0})) == "`limit` must be at least 1"
