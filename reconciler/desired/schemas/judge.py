"""Judges settings by the user's own schemas; each violation with the file that the value came from; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from pydantic import Field

from reconciler.core.canonical import strip_editor_key
from reconciler.core.fields import StrictModel
from reconciler.core.pointer_pattern import PatternText, find_matches, parse_pattern
from reconciler.core.secret import Secret, find_secrets, mask
from reconciler.desired.glob import match_names
from reconciler.desired.schemas.loader import SHOWN, LoadedSchema
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.document import Document, make_diagnostic
from reconciler.documents.model_errors import describe_value
from reconciler.secrets.redaction import hide_by_key
from reconciler.text.json_pointer import make_pointer
from reconciler.text.one_line import make_one_line, quote_text
from reconciler.text.suggestions import find_nearest

VIOLATED: Final = "schema-violated"
"""Code of a value that a schema of the fleet refuses."""

MOST_VIOLATIONS: Final = 50
"""Highest number of violations of one schema that are reported for one document."""

MOST_REPORTED: Final = 500
"""Number of violations of one schema from which no further document is judged by it."""

MOST_WORK: Final = 10_000_000
"""Units of work for all documents of a fleet: some three seconds, of which a large fleet needs a part."""

_MOST_LISTED_WORK: Final = 400_000
_SMALL_WORK: Final = 20_000
"""Errors that are made without a thought of the time, each of which takes ten microseconds."""

_LONGEST: Final = 300
_WHOLE: Final = frozenset({"enum", "const", "anyOf", "oneOf", "not", "contains", "uniqueItems"})
"""Keywords that look at all in a value, so also at secrets in it."""

_PLAIN: Final = {
    "falseSchema": f"{SHOWN} does not belong here",
    "contains": f"no item of {SHOWN} is as it must be",
    "anyOf": f"{SHOWN} fits none of the forms",
    "oneOf": f"{SHOWN} fits none of the forms",
    "not": f"{SHOWN} is what it must not be",
}
"""Keyword -> what is wrong, where the library speaks of schemas and not of the value."""

_UNEXPECTED: Final = frozenset({"additionalProperties", "unevaluatedProperties"})
_Path = tuple[str | int, ...]


class SchemaEntry(StrictModel):
    """A schema of your own by which settings are judged."""

    files: str = Field(
        min_length=1,
        description="Settings files, as clusters and nodes name them: a path, or a pattern such as "
        "`edge/*.json`. They are judged with their overlays.",
        examples=["settings/*.json"],
    )
    at: PatternText = Field(
        default="",
        description="JSON pointer of the part that is judged, if it is there; `*` stands for each key of an "
        "object or item of a list. Empty for the whole.",
        examples=["/hosting", "/hosting/*/origin"],
    )
    schema_: str = Field(
        alias="schema",
        min_length=1,
        description="Path of the JSON Schema, relative to the fleet file.",
        examples=["schemas/hosting.schema.json"],
    )


def judge_documents(
    documents: Iterable[Document], entries: Sequence[tuple[SchemaEntry, LoadedSchema | None]], fleet: Document
) -> Iterator[Diagnostic]:
    """What the schemas of a fleet refuse, each place once, and the entries that judge nothing.

    Args:
        documents: rendered settings, each once.
        entries: of the fleet file, in its order, each with its schema; None if that has a problem.
        fleet: the fleet file.
    """
    listed, effort = list(documents), _Effort()
    for index, (entry, schema) in enumerate(entries):
        chosen = [document for document in listed if match_names(entry.files, [document.name])]
        if not chosen:
            yield make_diagnostic(
                fleet,
                f"/schemas/{index}/files",
                "unused-schema",
                f"{quote_text(entry.files)} matches no settings file of a cluster or a node, so nothing is "
                "judged by this schema",
                _suggest_files(entry.files, listed),
                severity=Severity.WARNING,
            )
        found: dict[Any, Diagnostic] = {}
        for document in chosen if schema is not None else ():
            assert schema is not None
            if len(found) >= MOST_REPORTED:
                break
            for problem in _judge(document, entry, schema, effort):
                # Nodes that share a file share its problems.
                found.setdefault((problem.position, problem.pointer, problem.message), problem)
        yield from found.values()


def _suggest_files(pattern: str, documents: Sequence[Document]) -> str:
    names = sorted({document.name for document in documents})
    near = find_nearest(pattern, names[:100])
    if near:
        return f"did you mean `{near}`?"
    shown = f"the settings files are {', '.join(names[:3])}{', …' if len(names) > 3 else ''}"  # noqa: PLR2004
    return f"{shown}; overlays are judged as part of them" if names else "name settings files"


@dataclass(slots=True)
class _Effort:
    """The work that is left for the documents of a fleet, in units of `weigh_schema`.

    A unit takes 0.3 microseconds if a document is only judged, and up to ten if all its errors are listed.
    """

    judged: int = MOST_WORK
    listed: int = _MOST_LISTED_WORK


def _judge(
    document: Document, entry: SchemaEntry, schema: LoadedSchema, effort: _Effort
) -> Iterator[Diagnostic]:
    secrets = {path for path, _ in find_secrets(document.value)}
    count = 0
    for path, value in find_matches(strip_editor_key(mask(document.value)), parse_pattern(entry.at)):
        inside = {secret[len(path) :] for secret in secrets if secret[: len(path)] == path}
        for problem in _judge_value(document, path, value, schema, inside, effort=effort):
            yield problem
            count += 1
            if count >= MOST_VIOLATIONS:
                words = f"{schema.name} refuses more here than the first {MOST_VIOLATIONS} places"
                yield make_diagnostic(document, make_pointer(path), VIOLATED, words, "correct those first")
                return


def _judge_value(
    document: Document,
    base: _Path,
    value: Any,
    schema: LoadedSchema,
    secrets: set[_Path],
    *,
    effort: _Effort,
) -> Iterator[Diagnostic]:
    work = schema.cost.measure(value, effort.judged)
    effort.judged -= min(work, effort.judged)
    if not effort.judged:
        words = f"this cannot be judged by {schema.name}: settings and schemas of the fleet are too much work"
        remedy = "simplify the schema, or name a smaller part in `at`"
        yield make_diagnostic(document, make_pointer(base), VIOLATED, words, remedy)
        return
    try:
        # First the answer alone: that takes microseconds, and the errors of a large document seconds.
        errors, is_whole = (
            ((), True) if schema.judge.is_valid(value) else _list_errors(schema, value, work, effort)
        )
    except ValueError as bad:  # such as a whole number that no library holds
        words = f"{schema.name} cannot judge this: {make_one_line(str(bad), _LONGEST)}"
        yield make_diagnostic(document, make_pointer(base), VIOLATED, words)
        return
    if not is_whole and all(
        _is_undecided(tuple(one.instance_path), one.kind.name, secrets) for one in errors
    ):
        words = f"this is too large for {schema.name} to be judged beside its secrets"
        yield make_diagnostic(
            document, make_pointer(base), VIOLATED, words, "name a smaller part in `at`, without them"
        )
        return
    if not is_whole:
        words = f"this is large, so only the first place is shown that {schema.name} refuses in it"
        remedy = "correct that place and validate again, or name a smaller part in `at`"
        yield make_diagnostic(document, make_pointer(base), VIOLATED, words, remedy)
    for error in islice(errors, MOST_VIOLATIONS * 4):
        inner = tuple(error.instance_path)
        if _is_undecided(inner, error.kind.name, secrets):
            continue
        for path, words in _describe(error, inner, _get_value(value, inner)):
            remedy = make_one_line(schema.describe(error.absolute_keyword_location or ""), _LONGEST)
            yield make_diagnostic(
                document,
                make_pointer((*base, *path)),
                VIOLATED,
                f"{words} (`{error.kind.name}` in {schema.name})",
                f"what belongs here: {remedy}" if remedy else "",
            )


def _list_errors(schema: LoadedSchema, value: Any, work: int, effort: _Effort) -> tuple[Iterable[Any], bool]:
    """The errors of a value that is not valid, and whether these are all of them.

    The library makes all errors at once, each with those of every form that did not fit. Where that would
    take long, it makes the first one only.
    """
    import jsonschema_rs  # noqa: PLC0415  (few fleets have schemas)

    judge = schema.judge
    if work <= effort.listed:
        effort.listed -= work
        # Counting errors takes a tenth of the time of making them.
        count = 0 if work <= _SMALL_WORK else len(judge.evaluate(value).errors())
        if count <= _SMALL_WORK:
            effort.listed -= min(10 * count, effort.listed)
            return judge.iter_errors(value), True
    try:
        judge.validate(value)
    except jsonschema_rs.ValidationError as error:
        return [error], False
    return (), True


def _is_undecided(path: _Path, keyword: str, secrets: set[_Path]) -> bool:
    """Whether a rule depends on the value of a secret, which may be unknown here, apart from its type."""
    if path in secrets:
        return keyword != "type"
    return keyword in _WHOLE and any(secret[: len(path)] == path for secret in secrets)


def _describe(error: Any, path: _Path, value: Any) -> Iterator[tuple[_Path, str]]:
    """(path, message) of a violation; of keys that do not belong there, one for each."""
    name = next((str(part) for part in reversed(path) if isinstance(part, str)), "")
    if error.kind.name in _UNEXPECTED:
        for key in error.kind.unexpected[:MOST_VIOLATIONS]:
            yield (*path, key), f"the key {quote_text(key)} does not belong here"
        return
    if error.kind.name == "required":
        yield (*path, error.kind.property), f"the key {quote_text(error.kind.property)} is missing"
        return
    detail = _describe_choice(error.kind, path)
    said = _PLAIN.get(error.kind.name, "") or make_one_line(error.message, _LONGEST)
    if error.kind.name == "oneOf" and "more than one" in error.message:
        said = f"{SHOWN} fits more than one of the forms, and must fit one only"
    if error.kind.name == "format":
        said = f"{SHOWN} is no valid {error.kind.format}"
    shown = hide_by_key(name, value)
    got = f", got {describe_value(mask(shown))}" if not isinstance(value, Mapping | list) else ""
    subject = f"`{name}`" if name else "the value"
    yield path, f"{said.replace(SHOWN, subject, 1)}{got if SHOWN in said else ''}{detail}"


def _describe_choice(kind: Any, path: _Path) -> str:
    """Of a value that fits none of several forms, what keeps it from the nearest one."""
    context = getattr(kind, "context", None)
    branches = [branch for branch in context or () if branch]
    if kind.name not in {"anyOf", "oneOf"} or not branches:
        return ""

    def rank(branch: Any) -> tuple[bool, int, int]:
        # Of the value's type first, and then that which it fits deepest, with the fewest violations.
        other_type = any(one.kind.name == "type" and tuple(one.instance_path) == path for one in branch)
        return other_type, -max(len(one.instance_path) for one in branch), len(branch)

    first = min(branches, key=rank)[0]
    where = make_pointer(first.instance_path[len(path) :])
    return f"; the nearest form fails{f' at {where}' if where else ''}: {make_one_line(first.message, 120)}"


def _get_value(value: Any, path: _Path) -> Any:
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return None
    return value if not isinstance(value, Secret) else str(value)
