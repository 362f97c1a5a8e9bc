"""Models as Markdown tables: every field with its default and its meaning."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator, Mapping
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined


def render_model_table(title: str, model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[str]:
    """The table of a model, and after it those of its inner models that were not shown yet."""
    seen.add(model)
    yield f"## {title}"
    yield inspect.cleandoc(model.__doc__ or "").split("\n\n")[0]
    rows = ["| key | default | meaning |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        default = "required" if field.is_required() else _format_default(field)
        example = f" For example `{_format_value(field.examples[0])}`." if field.examples else ""
        meaning = f"{field.description or ''}{example}".replace("|", "\\|")
        rows.append(f"| `{field.alias or name}` | {default} | {meaning} |")
    yield "\n".join(rows)
    for name, field in model.model_fields.items():
        for inner in _find_models(field.annotation):
            if inner not in seen:
                yield from render_model_table(f"`{field.alias or name}` ({inner.__name__})", inner, seen)


def _format_default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined or value is None or isinstance(value, BaseModel) or value in ((), "", {}):
        return "none"
    return f"`{_format_value(value)}`"


def _format_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_format_value(item)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_format_value(item) for item in value)}]"
    return str(getattr(value, "value", value))


def _find_models(kind: Any) -> Iterator[type[BaseModel]]:
    """The models in a field's type."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    elif get_origin(kind) in {Union, types.UnionType, tuple, list, dict} or get_args(kind):
        for inner in get_args(kind):
            yield from _find_models(inner)
