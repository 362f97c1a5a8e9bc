"""Everything wrong in one `setting.json`: types, limits, names and addresses, each with its position."""

from __future__ import annotations

from typing import Any, Final

from reconciler.core.canonical import encode_canonical
from reconciler.core.editor_key import strip_editor_key
from reconciler.core.json_reader import JsonError, JsonLimits, check_size
from reconciler.core.secret import mask
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.document import Document
from reconciler.drivers.m2.setting import features, rules
from reconciler.drivers.m2.setting.diagnostics import check_model, sort_by_position
from reconciler.drivers.m2.setting.models import SettingFile

LIMITS: Final = JsonLimits(size=8 * 1024 * 1024, values=200_000)
"""Bounds on a setting, on what a node shows as on what a file has."""


def check_setting(document: Document) -> list[Diagnostic]:
    """All problems of one file, errors and warnings, in the order of their positions.

    Secrets count as text; what would be wrong with their values cannot be known here.
    """
    value = mask(document.value)
    if too_large := _unreadable(value):
        return sort_by_position(document, [too_large])
    return sort_by_position(
        document,
        [*check_model(SettingFile, value, ()), *rules.check_rules(value), *features.check_features(value)],
    )


def _unreadable(value: Any) -> Diagnostic | None:
    """What is wrong with a setting that could be sent, and never be read back from a node."""
    try:
        check_size(encode_canonical(strip_editor_key(value)), LIMITS)
    except JsonError as error:
        return Diagnostic(
            Severity.ERROR,
            "setting-too-large",
            f"the setting cannot be read back from a node: {error}",
            "leave out what the node does not need, or spread `hosting` over several clusters",
        )
    return None
