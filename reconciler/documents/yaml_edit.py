"""Changes single values in the text of a YAML file; comments, quotes and the order of keys stay."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from reconciler.documents.edit import REMOVED, Edit

_COMMENT: Final = r"[ \t]*(?:#[^\n]*)?\n"
_HEAD: Final = rf"[^\s#-][^\n]*:{_COMMENT}(?:{_COMMENT})*"
_DASH: Final = re.compile(rf"^( *){_HEAD}( *)- ", re.MULTILINE)
_STEP: Final = re.compile(rf"^{_HEAD}( +)[^\s-]", re.MULTILINE)
_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./@-]*")
_WIDEST: Final = 1 << 20


def edited(text: str, edits: Sequence[Edit]) -> str:
    """The text after the edits, one after the other."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = _WIDEST
    _indentation(yaml, text)
    root = yaml.load(text)
    for edit in edits:
        _set(root, edit)
    out = io.StringIO()
    yaml.dump(root, out)
    return out.getvalue()


def _indentation(yaml: Any, text: str) -> None:
    """Write as far in as the file does: its lists' dashes, and its objects' keys."""
    dash, step = _DASH.search(text), _STEP.search(text)
    offset = len(dash[2]) - len(dash[1]) if dash else 2
    yaml.indent(mapping=len(step[1]) if step else 2, sequence=offset + 2, offset=offset)


def _set(root: Any, edit: Edit) -> None:
    *way, last = edit.path
    part: Any = root
    for key in way:
        if isinstance(part, dict) and key not in part:
            if edit.value is REMOVED:
                return
            part[key] = CommentedMap()
        part = part[key]
    if edit.value is REMOVED:
        part.pop(last, *(() if isinstance(part, list) else (None,)))
    elif isinstance(part, list) and last == len(part):
        part.append(_written(edit.value, flow=_flows(part)))
    else:
        part[last] = _written(edit.value, flow=False)


def _flows(items: Any) -> bool:
    """Whether the items of a list are written on one line each."""
    return any(getattr(item, "fa", None) is not None and item.fa.flow_style() for item in items)


def _written(value: Any, *, flow: bool) -> Any:
    """A plain value as the writer's own types, lists of plain values on one line."""
    found: Any = value
    if isinstance(value, dict):
        found = CommentedMap({key: _written(item, flow=False) for key, item in value.items()})
    elif isinstance(value, str) and not _PLAIN.fullmatch(value):
        found = DoubleQuotedScalarString(value)
    elif isinstance(value, list):
        found = CommentedSeq([_written(item, flow=False) for item in value])
        flow = flow or not any(isinstance(item, dict | list) for item in value)
    if flow and isinstance(found, CommentedMap | CommentedSeq):
        found.fa.set_flow_style()
    return found
