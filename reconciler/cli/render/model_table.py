"""Models as tables in Markdown: every field with its default and its meaning."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator, Mapping
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined


def render_model_table(title: str, model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[str]:
    """A model's table, and behind it those of the models it holds that were not shown yet."""
    seen.add(model)
    yield f"## {title}"
    yield inspect.cleandoc(model.__doc__ or "").split("\n\n")[0]
    rows = [_row(field.alias or name, field) for name, field in model.model_fields.items()]
    yield "\n".join(["| key | default | meaning |", "|---|---|---|", *rows])
    for name, field in model.model_fields.items():
        for inner in _models(field.annotation):
            if inner not in seen:
                yield from render_model_table(f"`{field.alias or name}` ({inner.__name__})", inner, seen)


def _row(name: str, field: FieldInfo) -> str:
    default = "required" if field.is_required() else _default(field)
    example = f" For example `{_plain(field.examples[0])}`." if field.examples else ""
    meaning = f"{field.description or ''}{example}".replace("|", "\\|")
    return f"| `{name}` | {default} | {meaning} |"


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined or value is None or isinstance(value, BaseModel) or value in ((), "", {}):
        return "none"
    return f"`{_plain(value)}`"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_plain(item)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_plain(item) for item in value)}]"
    return str(getattr(value, "value", value))


def _models(kind: Any) -> Iterator[type[BaseModel]]:
    """The models in a field's type."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    elif get_origin(kind) in {Union, types.UnionType, tuple, list, dict} or get_args(kind):
        for inner in get_args(kind):
            yield from _models(inner)
