"""The products: a table of the built-in ones, and those of installed packages.

A package adds a product by an entry point of the group `reconciler.drivers`, whose name is the kind and whose
value is the driver, such as `tower = "tower_driver:DRIVER"`. A search through all packages takes a tenth of a
second, so it is made only for a kind that the table does not have.
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
    "collab": "reconciler.drivers.collab.product",
    "gocluster": "reconciler.drivers.gocluster.product",
    "m2": "reconciler.drivers.m2.product",
    "sora": "reconciler.drivers.sora.product",
}
"""Kind -> the module whose `DRIVER` is the product."""

DEFAULT_KIND: Final = "m2"
"""The product of a generated fleet, if nobody names another one."""

GROUP: Final = "reconciler.drivers"
"""The group of entry points by which a package adds a product."""


class _Drivers(Mapping[str, "Driver[Any, Any]"]):
    """All products; each is loaded on first use.

    Iteration gives the kinds of the table, and those of packages after the first search for these.
    """

    def __getitem__(self, kind: str) -> Driver[Any, Any]:
        if kind in BUILT_IN:
            driver: Driver[Any, Any] = import_module(BUILT_IN[kind]).DRIVER
            return driver
        return _load_driver(kind)

    def __contains__(self, kind: object) -> bool:
        return kind in BUILT_IN or (isinstance(kind, str) and kind in _find_entry_points())

    def __iter__(self) -> Iterator[str]:
        yield from BUILT_IN
        if _find_entry_points.cache_info().currsize:
            yield from _find_entry_points()

    def __len__(self) -> int:
        return len(list(iter(self)))


class _OnHost(Mapping[str, "Driver[Any, Any]"]):
    """The products with the configuration of a host."""

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
"""All products."""


def load_installed() -> Mapping[str, Driver[Any, Any]]:
    """All products, after the search for packages, so that iteration gives all kinds.

    Raises:
        UsageError: two packages have the same kind.
    """
    _find_entry_points()
    return DRIVERS


def select_drivers(
    config: HostConfig, drivers: Mapping[str, Driver[Any, Any]] = DRIVERS
) -> Mapping[str, Driver[Any, Any]]:
    """The products with the configuration of a host; a product is configured on first use."""
    return _OnHost(config, drivers)


@cache
def _find_entry_points() -> Mapping[str, EntryPoint]:
    """Kind -> its entry point.

    Raises:
        UsageError: two packages have the same kind, or a package has a built-in kind.
    """
    from importlib.metadata import entry_points  # noqa: PLC0415  (few runs need it)

    found: defaultdict[str, list[EntryPoint]] = defaultdict(list)
    for point in entry_points(group=GROUP):
        found[point.name].append(point)
    # Refused, not ranked: a package could otherwise replace a product unnoticed, and get access to its nodes.
    for kind, points in sorted(found.items()):
        owners = [f"the package {_get_package_name(point)}" for point in points]
        owners += ["this program"] if kind in BUILT_IN else []
        if len(owners) > 1:
            raise UsageError(
                f"the product {kind!r} is provided by {' and by '.join(sorted(owners))}",
                remedy="uninstall all but one of them",
            )
    return {kind: point for kind, (point,) in found.items()}


@cache
def _load_driver(kind: str) -> Driver[Any, Any]:
    """The product of a package.

    Raises:
        KeyError: no package has the kind.
        UsageError: the entry point cannot be loaded, or is not a driver of this kind.
    """
    from reconciler.ports.driver import Driver  # noqa: PLC0415  (--help stays quick)

    point = _find_entry_points()[kind]
    where = f"the product {kind!r} of the package {_get_package_name(point)} ({point.value})"
    remedy = f"install a compatible version of {_get_package_name(point)}, or uninstall it"
    try:
        driver = point.load()
    except Exception as error:  # another program's code may fail in any way
        raise UsageError(
            f"{where} cannot be loaded: {type(error).__name__}: {error}", remedy=remedy
        ) from error
    if not isinstance(driver, Driver) or driver.kind != kind:
        raise UsageError(f"{where} is not a driver of this kind", remedy=remedy)
    return driver


def _get_package_name(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "without a name"
