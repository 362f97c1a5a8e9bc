"""Which keywords of a JSON Schema have schemas in them, and to what of an instance those apply; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

DIALECTS: Final = {
    "https://json-schema.org/draft/2020-12/schema": "2020-12",
    "https://json-schema.org/draft/2019-09/schema": "2019-09",
    "http://json-schema.org/draft-07/schema": "draft-07",
    "http://json-schema.org/draft-06/schema": "draft-06",
    "http://json-schema.org/draft-04/schema": "draft-04",
}
"""`$schema`, without `#` at its end -> name, for messages."""


# As in the documents of each dialect.
_EVERYWHERE: Final = (  # noqa: SIM905
    "$schema $ref $comment title description default examples readOnly writeOnly deprecated type enum const "
    "multipleOf maximum exclusiveMaximum minimum exclusiveMinimum maxLength minLength pattern format "
    "items maxItems minItems uniqueItems contains maxProperties minProperties required properties "
    "patternProperties additionalProperties propertyNames if then else allOf anyOf oneOf not "
    "contentEncoding contentMediaType"
).split()
_OLD: Final = ["additionalItems", "definitions", "dependencies"]
_NEW: Final = (  # noqa: SIM905
    "$defs $id $anchor $vocabulary dependentRequired dependentSchemas maxContains minContains contentSchema "
    "unevaluatedItems unevaluatedProperties"
).split()

KEYWORDS: Final[Mapping[str, frozenset[str]]] = {
    "2020-12": frozenset(
        {*_EVERYWHERE, *_NEW, "prefixItems", "$dynamicAnchor", "$dynamicRef", "definitions"}
    ),
    "2019-09": frozenset({*_EVERYWHERE, *_NEW, *_OLD, "$recursiveAnchor", "$recursiveRef"}),
    "draft-07": frozenset({*_EVERYWHERE, *_OLD, "$id"}),
    "draft-06": frozenset({*_EVERYWHERE, *_OLD, "$id"} - {"if", "then", "else", "$comment"}),
    "draft-04": frozenset(
        {*_EVERYWHERE, *_OLD, "id"} - {"if", "then", "else", "$comment", "const", "contains"}
    ),
}
"""Name of a dialect -> its keywords; a library ignores every other one."""


class Reach(Enum):
    """At which part of an instance an inner schema applies."""

    HERE = "here"
    """At the same value, like `allOf`."""

    KEY = "key"
    """At one member, like `properties`."""

    MEMBERS = "members"
    """At members in general, like `additionalProperties`."""

    INDEX = "index"
    """At one item, like `prefixItems`."""

    ITEMS = "items"
    """At items in general."""

    NONE = "none"
    """At nothing by itself, like `$defs`."""


class Inner(NamedTuple):
    """A schema in a schema.

    Args:
        path: its place in the outer one.
        value: the inner schema, valid or not.
        key: of `properties`, or the index of an item; else empty.
    """

    path: tuple[str | int, ...]
    value: Any
    reach: Reach
    key: str = ""


_ONE: Final = {
    "not": Reach.HERE,
    "if": Reach.HERE,
    "then": Reach.HERE,
    "else": Reach.HERE,
    "additionalProperties": Reach.MEMBERS,
    "unevaluatedProperties": Reach.MEMBERS,
    "propertyNames": Reach.MEMBERS,
    "additionalItems": Reach.ITEMS,
    "unevaluatedItems": Reach.ITEMS,
    "contains": Reach.ITEMS,
    "items": Reach.ITEMS,
    "contentSchema": Reach.NONE,
}
_LISTS: Final = {
    "allOf": Reach.HERE,
    "anyOf": Reach.HERE,
    "oneOf": Reach.HERE,
    "prefixItems": Reach.INDEX,
    "items": Reach.INDEX,
}
_MAPS: Final = {
    "properties": Reach.KEY,
    "patternProperties": Reach.MEMBERS,
    "dependentSchemas": Reach.HERE,
    "dependencies": Reach.HERE,
    "$defs": Reach.NONE,
    "definitions": Reach.NONE,
}


def list_inner_schemas(schema: Any) -> Iterator[Inner]:
    """The schemas directly in a schema; data, such as `enum` and `default`, is not looked into."""
    if not isinstance(schema, Mapping):
        return
    for keyword, value in schema.items():
        if isinstance(value, Mapping | bool) and keyword in _ONE:
            yield Inner((keyword,), value, _ONE[keyword])
        elif isinstance(value, list) and keyword in _LISTS:
            for index, item in enumerate(value):
                yield Inner((keyword, index), item, _LISTS[keyword], str(index))
        elif isinstance(value, Mapping) and keyword in _MAPS:
            for key, item in value.items():
                if not isinstance(item, list):  # a list of `dependencies` names keys
                    yield Inner((keyword, key), item, _MAPS[keyword], key)
