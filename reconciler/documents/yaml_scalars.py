"""The scalar rules of YAML 1.2's core schema: `yes`, `012` and dates are text or numbers as written."""

from __future__ import annotations

import re

from reconciler.text.numbers import InvalidNumber, read_number

_TAG = "tag:yaml.org,2002:"
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NO_NUMBER = re.compile(r"[-+]?(?:\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN")
# With other first characters a scalar is text: most are, and are not matched any further.
_MAYBE_NO_TEXT = frozenset("~-+.0123456789nNtTfF")
_LONGEST = 3_300
"""Characters of a whole number in base 8 or 16: it has fewer than `numbers.LONGEST` digits in base 10."""
_BASES = {"0o": 8, "0x": 16}

Scalar = str | int | float | bool | None


class InvalidScalar(ValueError):
    """A scalar that JSON cannot express or that its tag does not allow: `args` are code, message, remedy."""


def read_plain_scalar(words: str) -> Scalar:
    """The value of a scalar without quotes and tag.

    Raises:
        InvalidScalar: it is not a JSON number.
    """
    if words[:1] and words[0] not in _MAYBE_NO_TEXT:
        return words
    if words in _NULLS:
        return None
    if words in _BOOLEANS:
        return _BOOLEANS[words]
    if (base := _BASES.get(words[:2])) and _INTEGER.fullmatch(words):
        # Python limits digits of base 10 only, and would fail later, when it writes this number.
        if len(words) > _LONGEST:
            raise _bad_number(InvalidNumber(f"it has {len(words):,} characters, more than {_LONGEST:,}"))
        return int(words[2:], base)
    if _INTEGER.fullmatch(words) or _FLOAT.fullmatch(words):
        return _number(words)
    if _NO_NUMBER.fullmatch(words):
        remedy = "leave it out, or write `null`, a number, or text in quotes"
        raise InvalidScalar("not-a-number", f"`{words}` is not a JSON number", remedy)
    return words


def read_tagged_scalar(tag: str, words: str) -> Scalar:
    """The value of a scalar with a tag, such as `!!str 1`.

    Raises:
        InvalidScalar: the tag is not in YAML's core schema, or does not match the value.
    """
    kind = tag.removeprefix(_TAG)
    if tag == "!" or kind == "str":
        return words
    kinds: dict[str, tuple[type, ...]] = {
        "int": (int,), "float": (float, int), "bool": (bool,), "null": (type(None),),
    }  # fmt: skip
    if kind == tag or kind not in kinds:
        raise make_unknown_tag_error(tag)
    value = read_plain_scalar(words)
    if not isinstance(value, kinds[kind]) or (isinstance(value, bool) and kind != "bool"):
        raise InvalidScalar("yaml-tag", f"the value does not match the tag `!!{kind}`", "remove the tag")
    # The tag asks for a double, so a number that a double would round is refused.
    return _number(f"{value}.0") if kind == "float" and isinstance(value, int) else value


def make_unknown_tag_error(tag: str) -> InvalidScalar:
    """The problem of a tag outside YAML's core schema."""
    shown = tag.replace(_TAG, "!!", 1)
    return InvalidScalar("yaml-tag", f"unsupported tag `{shown}`", "remove it")


def _number(words: str) -> int | float:
    try:
        return read_number(words)
    except InvalidNumber as error:
        raise _bad_number(error) from None


def _bad_number(error: InvalidNumber) -> InvalidScalar:
    message = f"the number cannot be stored exactly: {error.message}"
    return InvalidScalar("bad-number", message, error.remedy)
