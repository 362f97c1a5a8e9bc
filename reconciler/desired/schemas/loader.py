"""Loads the schemas that a fleet file names, with those that they refer to, and makes judges of them; pure.

Both libraries that are used here would fetch the address or the file that a reference names. So every
reference is resolved here, within the source tree, and the judge gets all schemas in a registry that fetches
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from reconciler.desired.schemas.cost import Edges, JudgeCost, TooCostly, weigh_schema
from reconciler.desired.schemas.keywords import Reach, list_inner_schemas
from reconciler.desired.schemas.schema_file import (
    BASE,
    SchemaFile,
    find_metaschema_problems,
    find_part,
)
from reconciler.diagnostic import Diagnostic
from reconciler.documents.document import Document
from reconciler.text.json_pointer import make_pointer, split_pointer

MOST_FILES: Final = 50
"""Highest number of files that the schemas of a fleet have together."""

SHOWN: Final = "the value"
"""What messages of a judge have in place of a value, which may be a secret."""

_PATTERN_BYTES: Final = (200_000, 1_000_000, 10_000_000)
"""Memory that one compiled pattern may take; the smallest of these that it fits into counts."""

_ALL_PATTERNS: Final = 64_000_000
"""Memory that all patterns may take together."""

Opened: TypeAlias = Callable[[str], Document | tuple[str, str]]
"""Path -> the file as a document, or why not and what to do."""


class LoadedSchema:
    """A schema that is ready to judge.

    Args:
        name: path of its file.
        judge: of the library.
        cost: how much work it is to judge a document.
        files: path -> every file that has a part of it.
    """

    def __init__(self, name: str, judge: Any, cost: JudgeCost, files: Mapping[str, SchemaFile]) -> None:
        self.name = name
        self.judge = judge
        self.cost = cost
        self._files = {one.uri: one for one in files.values()}

    def describe(self, location: str) -> str:
        """What the schema around a keyword says for people; empty if it says nothing."""
        uri, _, pointer = location.partition("#")
        schema_file = self._files.get(uri)
        parts = split_pointer(pointer)[:-1]
        found = find_part(schema_file.document.value, parts) if schema_file is not None else None
        words = (found.get("description") or found.get("title")) if isinstance(found, Mapping) else ""
        return words if isinstance(words, str) else ""


class SchemaLoader:
    """Loads schemas, each file once, and collects their problems.

    Args:
        open_file: reads a file of the tree.
    """

    def __init__(self, open_file: Opened) -> None:
        self._open = open_file
        self._files: dict[str, SchemaFile] = {}
        self._loaded: dict[str, LoadedSchema | None] = {}
        self._pattern_bytes = 0

    def list_problems(self) -> list[Diagnostic]:
        """All problems of all files, also warnings."""
        found = (problem for one in self._files.values() for problem in (*one.problems, *one.warnings))
        return list(dict.fromkeys(found))

    def load(self, document: Document) -> LoadedSchema | None:
        """The schema in a file; None if it, or a file that it refers to, has a problem."""
        if document.name not in self._loaded:
            self._loaded[document.name] = self._load(document)
        return self._loaded[document.name]

    def _load(self, document: Document) -> LoadedSchema | None:
        files = self._collect_files(document)
        if any(one.problems for one in files.values()):
            return None
        root = files[document.name]
        try:
            cost = JudgeCost(
                f"{root.name}#", lambda place: _list_edges(place, files), lambda place: _weigh(place, files)
            )
        except TooCostly as error:
            name, _, pointer = error.place.partition("#")
            files[name].report(pointer, f"the schema is too much work to judge by: {error}", "simplify it")
            return None
        return self._compile(root, cost, files)

    def _collect_files(self, document: Document) -> dict[str, SchemaFile]:
        """A file and all files that it refers to, each checked as far as it is used."""
        found: dict[str, SchemaFile] = {}
        followed: set[tuple[str, str]] = set()
        waiting: list[tuple[Document, str, SchemaFile | None, str]] = [(document, "", None, "")]
        while waiting:
            one, fragment, source, place = waiting.pop()
            schema_file = found[one.name] = self._get_file(one)
            if len(found) > MOST_FILES:
                schema_file.report("", f"the schemas have more than {MOST_FILES} files", "join some of them")
                break
            there = schema_file.find(fragment) if schema_file.schemas else None
            if there is None:
                if source is not None and schema_file.schemas:
                    source.report(place, f"there is no schema at #{fragment} of {one.name}")
                continue
            if there not in schema_file.schemas:  # no schema by its keywords, as in `#/components/…`
                schema_file.walk(there)
                self._check_schema(schema_file, there)
            for pointer, reference in schema_file.references.items():
                if (one.name, pointer) in followed:
                    continue
                followed.add((one.name, pointer))
                known = self._files.get(reference.path)
                opened = known.document if known is not None else self._open(reference.path)
                if isinstance(opened, tuple):
                    schema_file.report(f"{pointer}/$ref", *opened)
                else:
                    waiting.append((opened, reference.fragment, schema_file, f"{pointer}/$ref"))
        return found

    def _get_file(self, document: Document) -> SchemaFile:
        """A file, looked at and checked at its first use; without schemas if it is none."""
        if document.name not in self._files:
            schema_file = self._files[document.name] = SchemaFile(document)
            if schema_file.check_top():
                schema_file.walk("")
                if not schema_file.is_too_large:
                    self._check_schema(schema_file, "")
        return self._files[document.name]

    def _check_schema(self, schema_file: SchemaFile, pointer: str) -> None:
        for place, message in find_metaschema_problems(schema_file, pointer):
            schema_file.report(place, f"this is not valid in a schema: {message}")
        for place, pattern in _list_patterns(schema_file, pointer):
            size = _measure_pattern(pattern)
            self._pattern_bytes += size
            if self._pattern_bytes > _ALL_PATTERNS:
                schema_file.report(place, "the patterns of all schemas are too large together", "use fewer")
                break
            if not size:
                schema_file.report(
                    place,
                    "this is not a regular expression that can be used here, or it is too large: look-around "
                    "and references to groups are not supported, so that no text takes long to match",
                    "write it without them",
                )

    def _compile(
        self, root: SchemaFile, cost: JudgeCost, files: Mapping[str, SchemaFile]
    ) -> LoadedSchema | None:
        import jsonschema_rs  # noqa: PLC0415  (few fleets have schemas)

        try:
            registry = jsonschema_rs.Registry([(one.uri, one.rewrite(files)) for one in files.values()])
            judge = jsonschema_rs.validator_for(
                {"$schema": root.document.value.get("$schema", root.dialect), "$ref": root.uri},
                registry=registry,
                pattern_options=jsonschema_rs.RegexOptions(size_limit=_PATTERN_BYTES[-1]),
                validate_formats=True,
                mask=SHOWN,
                offline=True,
            )
        except (ValueError, jsonschema_rs.ReferencingError) as error:
            root.report("", f"the schema cannot be used: {str(error).splitlines()[0]}".replace(BASE, ""))
            return None
        return LoadedSchema(root.name, judge, cost, files)


def _list_edges(place: str, files: Mapping[str, SchemaFile]) -> Edges:
    name, _, pointer = place.partition("#")
    schema_file = files[name]
    edges = [
        (inner.reach, inner.key, f"{name}#{pointer}{make_pointer(inner.path)}")
        for inner in list_inner_schemas(schema_file.schemas.get(pointer))
        if inner.reach is not Reach.NONE
    ]
    reference = schema_file.references.get(pointer)
    if reference is not None:
        there = files[reference.path].find(reference.fragment)
        edges.append((Reach.HERE, "", f"{reference.path}#{there}"))
    return tuple(edges)


def _weigh(place: str, files: Mapping[str, SchemaFile]) -> tuple[int, int]:
    name, _, pointer = place.partition("#")
    return weigh_schema(files[name].schemas.get(pointer))


def _list_patterns(schema_file: SchemaFile, start: str) -> list[tuple[str, str]]:
    """(pointer, pattern) of the regular expressions of a schema and those in it."""
    found: list[tuple[str, str]] = []
    for pointer, schema in schema_file.schemas.items():
        if not isinstance(schema, Mapping) or not f"{pointer}/".startswith(f"{start}/"):
            continue
        if isinstance(pattern := schema.get("pattern"), str):
            found.append((f"{pointer}/pattern", pattern))
        keys = schema.get("patternProperties")
        found += [
            (pointer + make_pointer(("patternProperties", key)), key)
            for key in (keys if isinstance(keys, Mapping) else ())
        ]
    return found


def _measure_pattern(pattern: str) -> int:
    """Bytes that a compiled pattern takes at most; 0 if it is none, or too large."""
    import jsonschema_rs  # noqa: PLC0415  (few fleets have schemas)

    for size in _PATTERN_BYTES:
        options = jsonschema_rs.RegexOptions(size_limit=size)
        try:
            jsonschema_rs.validator_for({"pattern": pattern}, pattern_options=options, offline=True)
        except ValueError:
            continue
        return size
    return 0
