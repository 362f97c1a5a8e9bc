"""Turns views into HTML: the templates, and how times and numbers are written."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from reconciler.core.timestamps import format_age, format_second
from reconciler.server.views.orders import CALENDAR_DAYS, CalendarSpan

_TEMPLATES: Final = "templates"


def describe_distance(moment: datetime, now: datetime) -> str:
    """How long ago a moment was, or how far away it is: `12 min ago`, `in 3 h`."""
    seconds = (now - moment).total_seconds()
    return f"{format_age(seconds)} ago" if seconds >= 0 else f"in {format_age(-seconds)}"


def mark_time(moment: datetime | None, now: datetime, missing: str = "never") -> str | Markup:
    """A moment as an element that machines read, too: relative in its text, whole and in UTC in its title."""
    if moment is None:
        return missing
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(
        moment.isoformat(timespec="seconds"), format_second(moment), describe_distance(moment, now)
    )


def mark_duration(moment: datetime, now: datetime) -> Markup:
    """How long something has been so, as an element as of `mark_time`: `12 min`."""
    return Markup('<time data-duration datetime="{}" title="since {} UTC">{}</time>').format(
        moment.isoformat(timespec="seconds"),
        format_second(moment),
        format_age(max(0.0, (now - moment).total_seconds())),
    )


def mark_code(text: str) -> Markup:
    """A text with what stands between back-ticks as code; everything in it is escaped."""
    parts = text.split("`")
    # The last one of an odd number of back-ticks ends nothing, and is shown as it is.
    if len(parts) % 2 == 0:
        parts[-2:] = ["`".join(parts[-2:])]
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(parts)
    )


def make_path(*parts: str, **parameters: object) -> str:
    """A path of this server from names of any characters; parameters without a value are left out."""
    path = "/" + "/".join(quote(part, safe="@") for part in parts)
    query = urlencode({key: str(value) for key, value in parameters.items() if value})
    return f"{path}?{query}" if query else path


def place_span(span: CalendarSpan, begin: datetime) -> tuple[float, float]:
    """Where a span begins in the calendar, and how long it is, in percent of the calendar's length."""
    whole = timedelta(days=CALENDAR_DAYS)
    return round(100 * ((span.begin - begin) / whole), 3), round(100 * ((span.end - span.begin) / whole), 3)


def divide_bar(counts: list[int]) -> list[tuple[float, float]]:
    """Begin and length of each part of a bar, in percent; a part of few nodes stays visible."""
    whole = sum(counts) or 1
    shares = [max(count / whole, 0.012) if count else 0.0 for count in counts]
    scale, at, found = 100 / (sum(shares) or 1), 0.0, []
    for share in shares:
        found.append((round(at, 3), round(share * scale, 3)))
        at += share * scale
    return found


@cache
def _load_environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(__name__.rpartition(".")[0], _TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals |= {
        "path": make_path,
        "mark_time": mark_time,
        "mark_duration": mark_duration,
        "place_span": place_span,
        "divide_bar": divide_bar,
        "one_day": timedelta(days=1),
    }
    environment.filters |= {"number": lambda number: f"{number:,}", "code": mark_code}
    return environment


def render_page(template: str, **values: Any) -> str:
    """The HTML of a page.

    Args:
        template: name of its file, without `.html`.
        values: what it shows.
    """
    return _load_environment().get_template(f"{template}.html").render(values)
