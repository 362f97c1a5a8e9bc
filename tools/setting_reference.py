"""The reference of M2's `setting.json` in Markdown, generated from the models that check it.

`python -m tools.setting_reference` prints it.
"""

from __future__ import annotations

import sys

from pydantic import BaseModel

from reconciler.cli.render.model_table import render_model_table
from reconciler.drivers.m2.setting.feeds import CONNECTIONS, FEEDS
from reconciler.drivers.m2.setting.models import AllowEntry, Connection, Group, Hosting, Role, SettingFile

_INTRODUCTION = """# `setting.json`

**For** committers who look up a key of a setting of M2.

Generated from the program: every field that the reconciler knows, with its default and meaning. All other keys are
delivered unchanged. [`setting.json.example`](../setting.json.example) shows every field in its place; secrets in it
are references (see [overlays and secrets](overlays-and-secrets.md))."""


def setting_reference() -> str:
    """Every known field of a `setting.json`, with connections, feeds and feedbacks."""
    seen: set[type[BaseModel]] = set()
    parts = [_INTRODUCTION, *render_model_table("Top level", SettingFile, seen)]
    lists: tuple[tuple[str, type[BaseModel]], ...] = (
        ("An entry of `allowList`", AllowEntry),
        ("A role", Role),
        ("A connection", Connection),
        ("A group of `members`", Group),
        ("A hosting", Hosting),
    )
    for title, model in lists:
        if model not in seen:
            parts += render_model_table(title, model, seen)
    shapes = {f"`info` of a connection of type `{kind}`": model for kind, model in CONNECTIONS.items()}
    for (feature, side), types in FEEDS.items():
        shapes |= {f"`info` of `{feature}.{side}` of type `{kind}`": model for kind, model in types.items()}
    for title, shape in shapes.items():
        if shape.model_fields:
            parts += render_model_table(title, shape, seen)
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.stdout.write(setting_reference())
