"""One file with a JSON Schema: its dialect, the schemas in it, its references, what is wrong in it; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from posixpath import dirname, join, normpath
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from reconciler.desired.merge_patch import get_member, has_member
from reconciler.desired.schemas.keywords import DIALECTS, KEYWORDS, list_inner_schemas
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.document import Document, make_diagnostic
from reconciler.text.json_pointer import make_pointer, split_pointer
from reconciler.text.one_line import make_one_line, quote_text
from reconciler.text.suggestions import find_nearest

CODE: Final = "bad-schema"
"""Code of what is wrong in a schema itself."""

IDLE: Final = "idle-keyword"
"""Code of a keyword of a schema that has no effect."""

BASE: Final = "tree:///"
"""Beginning of the names by which schemas refer to each other here: nothing can be fetched from it."""

LATEST: Final = "https://json-schema.org/draft/2020-12/schema"

MOST_SCHEMAS: Final = 2_000
"""Highest number of schemas in one file; each takes a millisecond to be checked."""

_MOST_PROBLEMS: Final = 20
_LONGEST: Final = 300
_AT_TOP_ONLY: Final = {"$id": "files are named by their paths here", "$schema": "a file has one dialect"}
_DYNAMIC: Final = ("$dynamicRef", "$recursiveRef")
_REPORTED: Final = frozenset({"$id", "id", *_DYNAMIC})
_NEAR: Final = 0.8
_SAME: Final = 0.97
"""Similarity of two addresses that differ in `https`."""
_SAID: Final = frozenset({"$ref", "$id", "id", "$schema", "$comment", "title", "description", "definitions"})
_REF_ALONE: Final = dict.fromkeys(("draft-07", "draft-06", "draft-04"), _SAID)
"""Dialect in which a `$ref` replaces its whole schema -> what may stand beside it all the same."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A `$ref`.

    Args:
        path: the file in the tree that it leads to.
        fragment: a pointer or an anchor in that file.
    """

    path: str
    fragment: str


@dataclass(eq=False)
class SchemaFile:
    """A file with a JSON Schema.

    Args:
        document: the file.
        problems: what is wrong in it, as far as it was looked at.
        warnings: what in it has no effect.
        schemas: pointer -> each schema in the file that applies to something.
        references: of all these.
        anchors: name -> pointer.
    """

    document: Document
    problems: list[Diagnostic] = field(default_factory=list)
    warnings: list[Diagnostic] = field(default_factory=list)
    schemas: dict[str, Any] = field(default_factory=dict)
    references: dict[str, Reference] = field(default_factory=dict)
    anchors: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its path within the tree."""
        return self.document.name

    @property
    def uri(self) -> str:
        """What it is called among schemas."""
        return BASE + quote(self.name)

    @cached_property
    def dialect(self) -> str:
        """The address of its dialect, without `#` at its end."""
        value = self.document.value
        given = value.get("$schema", LATEST) if isinstance(value, Mapping) else LATEST
        return given.removesuffix("#") if isinstance(given, str) else ""

    @property
    def is_too_large(self) -> bool:
        """Whether it has as many schemas as a file may have, or would have more: they take long to check."""
        return len(self.schemas) >= MOST_SCHEMAS

    def check_top(self) -> bool:
        """Report a file that is no schema of a known dialect; whether there is more to look at."""
        value = self.document.value
        if not isinstance(value, Mapping):
            self.report("", "a schema must be an object", 'for example {"type": "object"}')
            return False
        if self.dialect not in DIALECTS:
            known = ", ".join(DIALECTS)
            near = find_nearest(self.dialect, DIALECTS, cutoff=_SAME)
            remedy = f"did you mean {near}?" if near else f"write one of {known}"
            self.report("/$schema", f"{_quote(value['$schema'])} is not a known dialect", remedy)
            return False
        return True

    def walk(self, start: str) -> None:
        """Look at the schema at a pointer and at all in it; each schema once."""
        waiting = [start]
        while waiting:
            pointer = waiting.pop()
            if pointer in self.schemas:
                continue
            if len(self.schemas) == MOST_SCHEMAS:
                self.report("", f"the file has more than {MOST_SCHEMAS:,} schemas", "split it into several")
                return
            schema = find_part(self.document.value, split_pointer(pointer))
            self.schemas[pointer] = schema
            if isinstance(schema, Mapping):
                self._look_at(schema, pointer)
            waiting += [pointer + make_pointer(inner.path) for inner in list_inner_schemas(schema)]

    def _look_at(self, schema: Mapping[str, Any], pointer: str) -> None:
        for keyword in ("$anchor", "$dynamicAnchor"):
            if isinstance(name := schema.get(keyword), str):
                self.anchors.setdefault(name, pointer)
        top_only = _AT_TOP_ONLY | ({"id": _AT_TOP_ONLY["$id"]} if "draft-04" in self.dialect else {})
        for keyword, why in top_only.items():
            if pointer and keyword in schema:
                place = pointer + make_pointer((keyword,))
                self.report(
                    place, f"`{keyword}` below the top of a file is not supported: {why}", "remove it"
                )
        for keyword in _DYNAMIC:
            if keyword in schema:
                place = pointer + make_pointer((keyword,))
                self.report(place, f"`{keyword}` is not supported", "write `$ref`")
        if isinstance(reference := schema.get("$ref"), str):
            self._read_reference(reference, pointer)
        self._find_idle_keywords(schema, pointer)

    def _find_idle_keywords(self, schema: Mapping[str, Any], pointer: str) -> None:
        """Warn of a keyword that nothing reads: what looks like a rule is none then."""
        dialect = DIALECTS[self.dialect]
        known = KEYWORDS[dialect]
        for keyword in schema:
            if keyword in known or keyword in _REPORTED:
                continue
            others = [name for name, own in KEYWORDS.items() if keyword in own]
            near = find_nearest(keyword, known, cutoff=_NEAR)
            if others:
                words = f"{quote_text(keyword)} has no effect in {dialect}"
                self._warn(
                    pointer, keyword, words, f"it is a keyword of {others[0]}: write `$schema` for that"
                )
            elif near:
                words = f"{quote_text(keyword)} is no keyword and has no effect"
                self._warn(pointer, keyword, words, f"did you mean `{near}`?")
        if "$ref" in schema and dialect in _REF_ALONE:
            for keyword in sorted(schema.keys() & known - _REF_ALONE[dialect]):
                words = f"{quote_text(keyword)} has no effect beside `$ref` in {dialect}"
                self._warn(pointer, keyword, words, "put both into `allOf`")

    def _warn(self, pointer: str, keyword: str, words: str, remedy: str) -> None:
        if len(self.warnings) < _MOST_PROBLEMS:
            place = pointer + make_pointer((keyword,))
            self.warnings.append(
                make_diagnostic(self.document, place, IDLE, words, remedy, severity=Severity.WARNING)
            )

    def _read_reference(self, text: str, pointer: str) -> None:
        """Where a reference leads: to a place in the tree, or to a problem."""
        place = f"{pointer}/$ref"
        try:
            parts = urlsplit(text)
        except ValueError:
            self.report(
                place, f"{_quote(text)} is not a reference", "write #/$defs/NAME, or FILE#/$defs/NAME"
            )
            return
        beside = text.partition("#")[0]
        fragment = unquote(parts.fragment)
        own = self.document.value.get("$id", self.document.value.get("id"))
        if beside and isinstance(own, str) and beside == own.partition("#")[0]:
            path = self.name
        elif parts.scheme or parts.netloc or parts.query or "\\" in text or beside.startswith(("/", "~")):
            remedy = "copy that schema into the source, and write its path relative to this file"
            self.report(
                place, f"the reference {_quote(text)} leads out of the source; nothing is fetched", remedy
            )
            return
        else:
            path = normpath(join(dirname(self.name), unquote(beside))) if beside else self.name
        if path.startswith("../") or path == "..":
            remedy = "name a schema in the fleet file's folder or below it"
            self.report(place, f"the reference {_quote(text)} leads out of the fleet file's folder", remedy)
            return
        self.references[pointer] = Reference(path, fragment)

    def find(self, fragment: str) -> str | None:
        """The pointer that a fragment means; None if there is no schema there."""
        if fragment and not fragment.startswith("/"):
            return self.anchors.get(fragment)
        found = find_part(self.document.value, split_pointer(fragment))
        return fragment if isinstance(found, Mapping | bool) else None

    def rewrite(self, files: Mapping[str, SchemaFile]) -> Any:
        """The schema with each reference as a pointer in one of the files, and without a name of its own."""
        changed = {}
        for pointer, one in self.references.items():
            place = quote(files[one.path].find(one.fragment) or "", safe="/~$")
            changed[split_pointer(pointer)] = f"{files[one.path].uri}#{place}"
        value = _replace_references(self.document.value, (), changed)
        return {key: item for key, item in value.items() if key not in {"$id", "id"}}

    def report(self, pointer: str, message: str, remedy: str = "") -> None:
        """Add a problem; of many, the first ones."""
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(make_diagnostic(self.document, pointer, CODE, message, remedy))


def find_part(value: Any, parts: tuple[str, ...]) -> Any:
    """The value at a path; None if there is none."""
    for part in parts:
        if not has_member(value, part):
            return None
        value = get_member(value, part)
    return value


def _replace_references(value: Any, path: tuple[str, ...], uris: Mapping[tuple[str, ...], str]) -> Any:
    if isinstance(value, Mapping):
        found = {key: _replace_references(item, (*path, key), uris) for key, item in value.items()}
        return found | ({"$ref": uris[path]} if path in uris else {})
    if isinstance(value, list):
        return [_replace_references(item, (*path, str(index)), uris) for index, item in enumerate(value)]
    return value


def find_metaschema_problems(schema_file: SchemaFile, pointer: str) -> Iterator[tuple[str, str]]:
    """(pointer, message) of what the dialect of a file refuses in the schema at a pointer."""
    import jsonschema  # noqa: PLC0415  (takes a tenth of a second, and few fleets have schemas)

    kinds: dict[str, Any] = {
        "2020-12": jsonschema.Draft202012Validator,
        "2019-09": jsonschema.Draft201909Validator,
        "draft-07": jsonschema.Draft7Validator,
        "draft-06": jsonschema.Draft6Validator,
        "draft-04": jsonschema.Draft4Validator,
    }
    kind = kinds[DIALECTS[schema_file.dialect]]
    value = find_part(schema_file.document.value, split_pointer(pointer))
    for error in kind(kind.META_SCHEMA).iter_errors(value):
        # Where any of several forms would do, the nearest one has the message that helps.
        best = jsonschema.exceptions.best_match([error]) or error
        yield pointer + make_pointer(best.absolute_path), _describe_unmet(best)


_TYPES: Final = {
    "object": "an object",
    "array": "a list",
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}


def _describe_unmet(error: Any) -> str:
    """What a dialect wants at a place; the library would show values as Python writes them."""
    wanted, keyword = error.validator_value, error.validator
    if keyword == "type":
        kinds = [wanted] if isinstance(wanted, str) else wanted
        return f"it must be {' or '.join(_TYPES.get(kind, kind) for kind in kinds)}"
    if keyword == "enum":
        return f"it must be one of {', '.join(map(_quote, wanted))}"
    words = {
        "minimum": f"it must be at least {wanted}",
        "exclusiveMinimum": f"it must be more than {wanted}",
        "minItems": "it must not be empty",
        "uniqueItems": "it must not list anything twice",
        "anyOf": "it has a form that does not belong here",
        "format": f"it must be a valid {wanted}",
        "pattern": f"it must match {wanted}",
    }
    return words.get(keyword, f"it does not follow `{keyword}` of the dialect")


def _quote(value: Any) -> str:
    return quote_text(value) if isinstance(value, str) else make_one_line(repr(value), 60)
