"""What a stored report says of its node, for messages about steps; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from reconciler.core.arguments import StepFeedback
from reconciler.core.secret import MASK
from reconciler.drivers.m2.central_server.feeds import PACKAGE, SETTING, TGZ_SETTING
from reconciler.drivers.m2.setting.diagnostics import get_items, get_object, get_value
from reconciler.text.one_line import LONGEST_NAME, make_one_line
from reconciler.text.urls import strip_url

MOST_ADDRESSES: Final = 16
"""Addresses of a node in a message."""

LONGEST_URL: Final = 4_000
"""Characters of a URL in a report that are read."""

_TOKEN: Final = re.compile(rf"[^/?#]+(?=/(?:{PACKAGE.path}/|{re.escape(TGZ_SETTING.path)}|{SETTING.path}))")
"""The segment of a URL that shows which node calls; it stands before the route."""


def read_identity(report: Mapping[str, Any], *, is_about_step: bool) -> StepFeedback:
    """What a report says of its node; what it does not say is empty.

    Args:
        report: as it was stored, see `report_reader`.
        is_about_step: whether it reports the result of the step; else only the node's own properties count.
    """
    addresses = [one for _, one in get_items(report, "node", "iplist") if isinstance(one, str)]
    results = [get_object(one, "result") for _, one in get_items(report, "parameters")]
    result: Mapping[str, Any] = next((one for one in reversed(results) if one), {})
    found = StepFeedback(
        addresses=tuple(addresses[:MOST_ADDRESSES]),
        product_version=_read_text(report, "node", "productVer"),
        license_id=_read_text(report, "node", "licenseId"),
        result_version=_read_text(result, "productVersion"),
    )
    if not is_about_step:
        return found
    url = get_value(report, ("parameters", 0, "url"))
    # Masked before it is shortened, or a cut token would not be recognised.
    shown = strip_url(_TOKEN.sub(MASK, url[:LONGEST_URL])) if isinstance(url, str) and url else ""
    shown = shown if "://" in shown else ""
    return found.merge(StepFeedback(url=shown, last_modified=_read_text(result, "lastModified")))


def _read_text(value: Any, *path: str | int) -> str:
    found = get_value(value, path)
    return make_one_line(found, LONGEST_NAME) if isinstance(found, str) else ""
