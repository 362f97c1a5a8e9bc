"""Check of the virtual hosts of a `setting.json`: each name once, and ports that exist; pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from reconciler.core.endpoint import LAST_PORT
from reconciler.core.fields import drop_zero_fraction
from reconciler.diagnostic import Diagnostic
from reconciler.drivers.m2.setting.diagnostics import (
    Path,
    get_items,
    get_named_items,
    get_object,
    get_value,
    make_problem,
)

_PORT = re.compile(r":(?P<port>-?[0-9]{1,20})(?:/.*)?$")
_CLUSTER_META: Final[Path] = ("env", "management", "cluster", "meta")
_BASE_PORT: Final = 9000


def check_hostings(document: Any) -> Iterator[Diagnostic]:
    """Names that two virtual hosts have, and ports that no host can have."""
    yield from _find_shared_names(document)
    for index, item in get_items(document, "hosting"):
        hosting = get_object(item)
        yield from check_port(("hosting", index, "listen"), hosting.get("listen"))
        for place, address in get_items(hosting, "origin", "address"):
            yield from check_port(("hosting", index, "origin", "address", place), address)
    yield from _check_cluster_ports(document)


def check_port(path: Path, text: Any) -> Iterator[Diagnostic]:
    """The port at the end of a text such as `*:80`, if it has one."""
    # An IPv6 address without brackets ends in a group of digits, too.
    if not isinstance(text, str) or (text.count(":") > 1 and "]" not in text and "://" not in text):
        return
    found = _PORT.search(text)
    if found is not None and not 1 <= int(found["port"]) <= LAST_PORT:
        message = f"`{_get_key(path)}` has the port {found['port']}, and ports are from 1 to {LAST_PORT}"
        yield make_problem(path, "out-of-range", message, "write the port that is meant")


def _get_key(path: Path) -> str:
    """The last key of a path, without indices."""
    return next(str(part) for part in reversed(path) if isinstance(part, str))


def _find_shared_names(document: Any) -> Iterator[Diagnostic]:
    """Virtual hosts with the name of an earlier one, also in other case: domain names ignore it."""
    names: dict[str, int] = {}
    for index, name, _ in get_named_items(document, "hosting"):
        first = names.setdefault(_fold(name), index)
        if first != index:
            message = f'the hosting "{name}" is defined twice, first as item {first + 1} of the list'
            remedy = "names must be unique: remove one of the two, or merge them"
            yield make_problem(("hosting", index, "name"), "duplicate-name", message, remedy)


def _fold(name: str) -> str:
    return name.casefold().removesuffix(".")


def _check_cluster_ports(document: Any) -> Iterator[Diagnostic]:
    """In a cluster, virtual hosts also listen at ports counted from `baseHostingPort`."""
    if get_value(document, (*_CLUSTER_META, "enable")) is not True:
        return
    path = (*_CLUSTER_META, "baseHostingPort")
    value = get_value(document, path)
    base = _BASE_PORT if value is None else drop_zero_fraction(value)
    served = [one for _, one in get_items(document, "hosting") if get_object(one).get("enable") is not False]
    if not isinstance(base, int) or isinstance(base, bool) or not 1 <= base <= LAST_PORT:
        return  # reported as such
    last = base + len(served) - 1
    if last > LAST_PORT:
        message = (
            f"`baseHostingPort` is {base} and {len(served)} hostings are served, each at a port of its own "
            f"counted from it: the last one would be {last}, above {LAST_PORT}"
        )
        yield make_problem(path, "out-of-range", message, f"write at most {LAST_PORT - len(served) + 1}")
