"""The products: a table of those that are built in, and others that packages bring by an entry point.

A package adds a product by an entry point of the group `reconciler.drivers`, whose name is the kind and whose
value is the driver, such as `tower = "tower_driver:DRIVER"`. Looking through all packages takes a tenth of a
second, so it is done only for a kind that the table does not know.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from reconciler.errors import UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from reconciler.host.config import HostConfig
    from reconciler.ports.driver import Driver


BUILT_IN: Final = {
    "m2": "reconciler.drivers.m2.product",
    "sora": "reconciler.drivers.sora.product",
}
"""Kind -> the module whose `DRIVER` is the product."""

GROUP: Final = "reconciler.drivers"
"""The group of entry points by which a package brings a product."""


class _Drivers(Mapping[str, "Driver[Any, Any]"]):
    """Every product, each loaded when it is first asked for.

    Iterating gives the kinds of the table, and those of packages once something has asked for them.
    """

    def __getitem__(self, kind: str) -> Driver[Any, Any]:
        if kind in BUILT_IN:
            driver: Driver[Any, Any] = import_module(BUILT_IN[kind]).DRIVER
            return driver
        return _loaded(kind)

    def __contains__(self, kind: object) -> bool:
        return kind in BUILT_IN or (isinstance(kind, str) and kind in _brought())

    def __iter__(self) -> Iterator[str]:
        yield from BUILT_IN
        if _brought.cache_info().currsize:
            yield from _brought()

    def __len__(self) -> int:
        return len(list(iter(self)))


class _OnHost(Mapping[str, "Driver[Any, Any]"]):
    """The products as one host allows them."""

    def __init__(self, config: HostConfig, drivers: Mapping[str, Driver[Any, Any]]) -> None:
        self._config = config
        self._drivers = drivers
        self._made: dict[str, Driver[Any, Any]] = {}

    def __getitem__(self, kind: str) -> Driver[Any, Any]:
        if kind not in self._made:
            self._made[kind] = self._drivers[kind].with_host_config(self._config)
        return self._made[kind]

    def __contains__(self, kind: object) -> bool:
        return kind in self._drivers

    def __iter__(self) -> Iterator[str]:
        return iter(self._drivers)

    def __len__(self) -> int:
        return len(self._drivers)


DRIVERS: Mapping[str, Driver[Any, Any]] = _Drivers()
"""Every product there is."""


def load_installed() -> Mapping[str, Driver[Any, Any]]:
    """Every product there is, so that iterating gives those of packages, too.

    Raises:
        UsageError: two packages bring one kind.
    """
    _brought()
    return DRIVERS


def select_drivers(
    config: HostConfig, drivers: Mapping[str, Driver[Any, Any]] = DRIVERS
) -> Mapping[str, Driver[Any, Any]]:
    """The products with what a host's configuration allows of each."""
    return _OnHost(config, drivers)


@cache
def _brought() -> Mapping[str, EntryPoint]:
    """Kind -> the entry point that brings it.

    Raises:
        UsageError: two packages bring one kind, or one brings a kind that is built in.
    """
    from importlib.metadata import entry_points  # noqa: PLC0415  (few runs need it)

    found: defaultdict[str, list[EntryPoint]] = defaultdict(list)
    for point in entry_points(group=GROUP):
        found[point.name].append(point)
    for kind, points in sorted(found.items()):
        owners = [f"the package {_package(point)}" for point in points]
        owners += ["this program"] if kind in BUILT_IN else []
        if len(owners) > 1:
            raise UsageError(
                f"the product {kind!r} is provided by {' and by '.join(sorted(owners))}",
                remedy="uninstall all but one of them",
            )
    return {kind: point for kind, (point,) in found.items()}


@cache
def _loaded(kind: str) -> Driver[Any, Any]:
    """The product that a package brings.

    Raises:
        KeyError: none brings it.
        UsageError: what it brings cannot be loaded, or is no driver of that kind.
    """
    from reconciler.ports.driver import Driver  # noqa: PLC0415  (--help stays quick)

    point = _brought()[kind]
    where = f"the product {kind!r} of the package {_package(point)} ({point.value})"
    remedy = f"install a compatible version of {_package(point)}, or uninstall it"
    try:
        driver = point.load()
    except Exception as error:  # another program's code may fail in any way
        raise UsageError(
            f"{where} cannot be loaded: {type(error).__name__}: {error}", remedy=remedy
        ) from error
    if not isinstance(driver, Driver) or driver.kind != kind:
        raise UsageError(f"{where} is not a driver of this kind", remedy=remedy)
    return driver


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "without a name"
