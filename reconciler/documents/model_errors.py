"""The one translator of pydantic's errors: with a position, in plain words, with a remedy."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from reconciler.diagnostic import NOWHERE, Diagnostic, Severity
from reconciler.documents.document import Document
from reconciler.text.json_pointer import make_pointer as pointer_of
from reconciler.text.one_line import quote_text
from reconciler.text.suggestions import find_nearest, join_choices
from reconciler.text.urls import strip_userinfo

_LONGEST_PLACE = 100
_LITERAL = re.compile(r"'((?:[^'\\]|\\.)*)'")

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class ModelError:
    """One error of a model.

    Args:
        path: from the model's root to the value that is wrong, or to the one that misses a key.
        missing: the missing key, else empty.
        field: the model's field for the value; None if it has none.
        known: the keys that the model knows beside it.
        kinds: pydantic's names of all that the members of a union find wrong with the value.
    """

    error: ErrorDetails
    path: Path
    missing: str
    field: FieldInfo | None
    known: tuple[str, ...]
    kinds: tuple[str, ...]

    @property
    def is_unknown(self) -> bool:
        """Whether the model does not know the value's key."""
        return self.error["type"] == "extra_forbidden"


def find_model_errors(error: ValidationError, model: type[BaseModel], value: Any) -> list[ModelError]:
    """The errors of a value against a model, one for each place."""
    found: dict[tuple[Path, str], ModelError] = {}
    for details in error.errors(include_url=False):
        # Pydantic does not count items that are wrong, so it also calls a list with enough items too short.
        given, least = details["input"], details.get("ctx", {}).get("min_length", 0)
        if details["type"] == "too_short" and isinstance(given, list) and len(given) >= least:
            continue
        path = tuple(_select_existing(value, details["loc"]))
        missing = str(details["loc"][-1]) if details["type"] == "missing" else ""
        names = tuple(part for part in path if isinstance(part, str))
        field, known = _find_field(model, (*names, missing) if missing else names)
        new = ModelError(details, path, missing, field, known, (details["type"],))
        first = found.get((path, missing), new)
        kinds = tuple(dict.fromkeys((*first.kinds, *new.kinds)))
        found[path, missing] = replace(first, kinds=kinds)
    return list(found.values())


def translate_model_errors(
    found: Sequence[ModelError],
    document: Document | None,
    pointer: str,
    *,
    is_secret: Callable[[str], bool] = lambda _key: False,
) -> list[Diagnostic]:
    """The errors as problems of the document; a missing key whose misspelling is reported is left out.

    Args:
        found: of the value at `pointer`.
        document: the file; without it, the problems have a pointer but no position.
        pointer: of the value that was given to the model.
        is_secret: whether the value of a key must never be shown.
    """
    meant = {(each.path[:-1], _find_meant_key(each)) for each in found if each.is_unknown}
    return [
        _make_problem(each, document, pointer, is_secret)
        for each in found
        if (each.path, each.missing) not in meant
    ]


def describe_first_error(error: ValidationError) -> str:
    """The first error, without the value: for input of a program or a node, which may contain secrets."""
    details = error.errors(include_url=False, include_input=False)[0]
    place = "/".join(str(part) for part in details["loc"])[:_LONGEST_PLACE]
    subject = f"`{place}`" if place else "it"
    if details["type"] == "missing":
        return f"{subject} is missing"
    if details["type"] == "extra_forbidden":
        return f"{subject} is not a known key"
    return f"{subject} {_describe_unmet(details)}"


def describe_option_error(error: ValidationError) -> str:
    """The first error in the value of an option, to follow its name: `must be at least 1, got '0'`."""
    details = error.errors(include_url=False)[0]
    choices = re.findall("'([^']+)'", details["msg"].partition(" is not one of ")[2])  # typer's own text
    wanted = f"must be {join_choices(choices)}" if choices else _describe_unmet(details)
    return f"{wanted}, got {details['input']!r}"


def _describe_unmet(details: ErrorDetails) -> str:
    """What is wrong with a value, to follow its name: `must be at least 1`."""
    _, wanted = _find_requirement(details, (details["type"],))
    return f"must {wanted}" if wanted else f"is not valid: {_quote_reason(details)}"


def _find_requirement(details: ErrorDetails, kinds: Iterable[str]) -> tuple[str, str]:
    """Code, and what is required, to follow `must`; empty if only pydantic's own sentence says it."""
    kind, context = details["type"], details.get("ctx", {})
    if kind in {"literal_error", "enum"}:
        return "unknown-value", "be " + str(context.get("expected", "")).replace("'", "`")
    if kind in _LIMITS:
        return "out-of-range", _LIMITS[kind](context)
    if kind == "string_pattern_mismatch":
        return "wrong-form", f"have the form `{context.get('pattern', '')}`"
    expected = (words for one in kinds for start, words in _EXPECTED_TYPES if one.startswith(start))
    wanted = " or ".join(dict.fromkeys(expected))
    return ("wrong-type", f"be {wanted}") if wanted else ("bad-value", "")


def _quote_reason(details: ErrorDetails) -> str:
    words = str(details.get("ctx", {}).get("error", details["msg"]))
    return _lower_first(words)


def _make_problem(
    model_error: ModelError, document: Document | None, pointer: str, is_secret: Callable[[str], bool]
) -> Diagnostic:
    missing = (model_error.missing,) if model_error.missing else ()
    at = pointer + pointer_of((*model_error.path, *missing))
    # A message goes to logs and to comments of pull requests, where a secret must not appear.
    hidden = any(isinstance(part, str) and is_secret(part) for part in model_error.path)
    position = document.position(at, key=model_error.is_unknown) if document else NOWHERE
    given = model_error.error["input"]
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    word = document.read_word(at) if document and is_number and not hidden else ""
    code, message, remedy = _describe(model_error, hidden=hidden, word=word)
    return Diagnostic(Severity.ERROR, code, message, remedy, position=position, pointer=at)


def _select_existing(value: Any, loc: Iterable[str | int]) -> Iterator[str | int]:
    """The parts of pydantic's location that are parts of the value; it also names members of unions."""
    for part in loc:
        inside = (isinstance(value, Mapping) and part in value) or (
            isinstance(value, list) and isinstance(part, int) and part < len(value)
        )
        if inside:
            value = value[part]
            yield part


@lru_cache(maxsize=1024)  # a file with one mistake in each of many items looks up the same field each time
def _find_field(model: type[BaseModel], names: tuple[str, ...]) -> tuple[FieldInfo | None, tuple[str, ...]]:
    """The model's field at a path without its indices, and the keys that the model knows beside it."""
    models, field = [model], None
    known: tuple[str, ...] = ()
    for part in names:
        fields = {info.alias or name: info for inner in models for name, info in inner.model_fields.items()}
        known = tuple(fields)
        field = fields.get(part)
        models = list(_list_models(field.annotation)) if field else []
    return field, known


def _list_models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _list_models(inner)


def _describe(model_error: ModelError, *, hidden: bool, word: str) -> tuple[str, str, str]:
    """Code, message and remedy; `word`: the value as the file has it, empty if that is not clear."""
    if model_error.missing:
        return "missing-key", f"`{model_error.missing}` is missing", _describe_field(model_error)
    subject = _name_subject(model_error.path)
    if model_error.is_unknown:
        if meant := _find_meant_key(model_error):
            remedy = f"did you mean `{meant}`?"
        else:
            known = ", ".join(sorted(model_error.known))
            remedy = f"the known keys are {known}" if known else "remove it"
        return "unknown-key", f"{subject} is not a known key", remedy
    details = model_error.error
    given, context = details["input"], details.get("ctx", {})
    code, wanted = _find_requirement(details, model_error.kinds)
    shown, remedy = _describe_kind(given) if hidden else describe_value(given), ""
    if details["type"] == "string_too_short" and not given:
        return "empty-text", f"{subject} is empty", _describe_field(model_error)
    if code == "unknown-value":
        meant = find_nearest(str(given), _LITERAL.findall(str(context.get("expected", ""))))
        remedy = f"did you mean `{meant}`?" if meant else ""
    elif code == "wrong-type" and not hidden:
        remedy = _suggest_spelling(details["type"], given, word)
        shown = quote_text(word) if word else shown
        shown = f"the text {shown}" if given and isinstance(given, str) else shown
    elif code == "bad-value":
        remedy = str(context.get("remedy", ""))
    what = f"must {wanted}, got {shown}" if wanted else f"is {shown}, but {_quote_reason(details)}"
    return code, f"{subject} {what}", remedy or _describe_field(model_error)


def _suggest_spelling(kind: str, given: Any, word: str) -> str:
    """The right spelling of a value with missing or needless quotes; `word`: as the file has it."""
    if kind == "string_type" and isinstance(given, int | float):
        # A suggestion from the number alone would be wrong: of 001 and 2024.10 only 1 and 2024.1 are left.
        word = json.dumps(given) if isinstance(given, bool) else word
        return f"write `{json.dumps(word)}`" if word else "write it in quotes, as it is meant"
    plain = given.strip().lower() if isinstance(given, str) else ""
    if kind.startswith("bool") and (given in (0, 1) or plain in _FLAGS):
        return f"write `{json.dumps(_FLAGS[plain] if plain else bool(given))}`"
    if (kind == "bool_type" and plain in {"true", "false"}) or (kind == "int_type" and plain.isdecimal()):
        return f"write `{plain}` without quotes"
    return ""


_FLAGS = {"yes": True, "on": True, "1": True, "no": False, "off": False, "0": False}
_LIMITS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "greater_than": lambda context: f"be more than {context['gt']:g}",
    "greater_than_equal": lambda context: f"be at least {context['ge']:g}",
    "less_than": lambda context: f"be less than {context['lt']:g}",
    "less_than_equal": lambda context: f"be at most {context['le']:g}",
    "string_too_short": lambda context: f"have at least {_format_count(context['min_length'], 'character')}",
    "string_too_long": lambda context: f"have at most {_format_count(context['max_length'], 'character')}",
    "too_short": lambda context: f"have at least {_format_count(context['min_length'], 'item')}",
    "too_long": lambda context: f"have at most {_format_count(context['max_length'], 'item')}",
}
_EXPECTED_TYPES = (
    (("string",), "text"),
    (("int",), "a whole number"),
    (("float", "finite_number"), "a number"),
    (("bool",), "`true` or `false`"),
    (("list", "tuple", "set", "frozen_set"), "a list"),
    (("dict", "mapping", "model", "dataclass"), "a mapping"),
    (("none_required",), "nothing"),
    (("date",), "a date such as 2026-12-01"),
    (("time",), "a time such as 03:00"),
    (("url",), "an address such as `http://host:80/`"),
)


def _name_subject(path: Path) -> str:
    names = [part for part in path if isinstance(part, str)]
    if not path:
        return "this"
    if isinstance(path[-1], int):
        return f"item {path[-1] + 1} of `{names[-1]}`" if names else f"item {path[-1] + 1}"
    return quote_text(path[-1])


def _describe_kind(given: Any) -> str:
    if isinstance(given, str):
        return "text"
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    return "a number" if is_number else describe_value(given)


def describe_value(given: Any) -> str:
    """A value, to follow `got` or `is`: `no value`, `a list`, or the value itself in backquotes."""
    if given is None:
        return "no value"
    if isinstance(given, Mapping):
        return "a mapping" if given else "an empty mapping"
    if isinstance(given, list | tuple):
        return "a list" if given else "an empty list"
    if isinstance(given, str):
        return quote_text(strip_userinfo(given, "…@")) if given else "empty text"
    return quote_text(json.dumps(given, default=str))


def _find_meant_key(model_error: ModelError) -> str:
    return find_nearest(str(model_error.path[-1]), model_error.known)


def _describe_field(model_error: ModelError) -> str:
    """The key, the first sentence of its description, and an example."""
    field = model_error.field
    if field is None:
        return ""
    names = [part for part in (*model_error.path, model_error.missing) if isinstance(part, str) and part]
    example = f"such as `{json.dumps(field.examples[0], default=str)}`" if field.examples else ""
    description = _lower_first((field.description or "").partition(". ")[0].rstrip("."))
    words = ", ".join(filter(None, (description, example)))
    return f"{quote_text(names[-1])}: {words}" if words and names else words


def _format_count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _lower_first(words: str) -> str:
    return words[:1].lower() + words[1:] if words[1:2].islower() or words[1:2] == " " else words
