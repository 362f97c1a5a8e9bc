"""JSON Schema (2020-12) documents made from models, for editors and for programs of other languages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, NoDefault, models_json_schema
from pydantic_core import core_schema

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema: TypeAlias = dict[str, Any]
"""A JSON Schema, or a part of one, as plain data."""

_LIMITS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|_")
_END = r"$(?!\n)"


@dataclass(frozen=True, slots=True)
class SchemaTitle:
    """Name, title and description of a schema.

    Args:
        name: of the schema, and of its file before `.schema.json`.
        title: a few words.
        description: a sentence or two.
        beyond: what the program checks and no schema can express, each a clause without a final stop.
    """

    name: str
    title: str
    description: str
    beyond: tuple[str, ...] = ()

    def head(self) -> Schema:
        """The keywords before the rules."""
        rest = f" The program checks besides: {'; '.join(self.beyond)}." if self.beyond else ""
        return {
            "$schema": DIALECT,
            "$id": f"urn:reconciler:schema:{self.name}",
            "title": self.title,
            "description": f"{self.description}{rest}",
        }


class _Generator(GenerateJsonSchema):
    """Pydantic's own schemas, with defaults that are made on demand and titles in words."""

    schema_dialect = DIALECT

    def get_default_value(self, schema: core_schema.WithDefaultSchema) -> Any:
        if "default_factory" in schema and not schema.get("default_factory_takes_data"):
            made = schema["default_factory"]()  # type: ignore[call-arg]
            return NoDefault if isinstance(made, BaseModel) else made
        return super().get_default_value(schema)

    def get_title_from_name(self, name: str) -> str:
        return _WORDS.sub(" ", name).strip().capitalize()


def make_schema(kind: Any, title: SchemaTitle) -> Schema:
    """The schema of a model, or of a union of models."""
    made = TypeAdapter(kind).json_schema(schema_generator=_Generator)
    return finish_schema(made, title)


def make_definitions(models: Iterable[type[BaseModel]]) -> Schema:
    """Name -> schema of models and of all that they hold, for `$defs`."""
    pairs: list[Any] = [(model, "validation") for model in models]
    _, made = models_json_schema(pairs, schema_generator=_Generator)
    found: Schema = made["$defs"]
    return found


def make_reference(model: type[BaseModel]) -> Schema:
    """A reference to a model's schema under `$defs`."""
    return {"$ref": f"#/$defs/{model.__name__}"}


def make_conditions(key: str, choices: Mapping[str, Schema]) -> list[Schema]:
    """Conditions for `allOf`: where the value at `key` is a choice, its schema holds."""
    return [
        {"if": {"properties": {key: {"const": choice}}, "required": [key]}, "then": rules}
        for choice, rules in choices.items()
    ]


def finish_schema(schema: Mapping[str, Any], title: SchemaTitle) -> Schema:
    """A whole schema under its title."""
    apart = ("$schema", "title", "description", "$defs")
    own = {key: value for key, value in schema.items() if key not in apart}
    exact: Schema = _make_exact({**title.head(), **own, "$defs": schema.get("$defs", {})})
    return exact


def _make_exact(value: Any) -> Any:
    """The same schema, in which a pattern's end is the end of the text in every language.

    In some, `$` also matches before a last line break. Limits that pydantic names as Python does, for
    numbers that are read by a function, get their own names.
    """
    if isinstance(value, Mapping):
        if len(patterns := value.get("patternProperties", {})) == 1:  # pydantic allows other names beside
            ((pattern, rules),) = patterns.items()
            rest = {key: item for key, item in value.items() if key != "patternProperties"}
            return _make_exact(rest | {"propertyNames": {"pattern": pattern}, "additionalProperties": rules})
        number = value.get("type") in ("integer", "number")
        return {
            _LIMITS.get(key, key) if number else key: _end_pattern(item)
            if key == "pattern"
            else _make_exact(item)
            for key, item in value.items()
        }
    return [_make_exact(item) for item in value] if isinstance(value, list | tuple) else value


def _end_pattern(pattern: Any) -> Any:
    if isinstance(pattern, str) and pattern.endswith("$"):
        return pattern[:-1] + _END
    return _make_exact(pattern)
