"""The one table of products: kind -> driver, each loaded when it is first asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from reconciler.host.config import HostConfig
    from reconciler.ports.driver import Driver


BUILT_IN: Final = {
    "m2": "reconciler.drivers.m2.product",
    "sora": "reconciler.drivers.sora.product",
}
"""Kind -> the module whose `DRIVER` is the product."""


class _Drivers(Mapping[str, "Driver[Any, Any]"]):
    def __getitem__(self, kind: str) -> Driver[Any, Any]:
        driver: Driver[Any, Any] = import_module(BUILT_IN[kind]).DRIVER
        return driver

    def __iter__(self) -> Iterator[str]:
        return iter(BUILT_IN)

    def __len__(self) -> int:
        return len(BUILT_IN)


class _OnHost(Mapping[str, "Driver[Any, Any]"]):
    """The products as one host allows them."""

    def __init__(self, config: HostConfig, drivers: Mapping[str, Driver[Any, Any]]) -> None:
        self._config = config
        self._drivers = drivers
        self._made: dict[str, Driver[Any, Any]] = {}

    def __getitem__(self, kind: str) -> Driver[Any, Any]:
        if kind not in self._made:
            self._made[kind] = self._drivers[kind].on_host(self._config)
        return self._made[kind]

    def __iter__(self) -> Iterator[str]:
        return iter(self._drivers)

    def __len__(self) -> int:
        return len(self._drivers)


DRIVERS: Mapping[str, Driver[Any, Any]] = _Drivers()
"""Every product the program knows. A new product is its folder and one line above."""


def drivers_for(
    config: HostConfig, drivers: Mapping[str, Driver[Any, Any]] = DRIVERS
) -> Mapping[str, Driver[Any, Any]]:
    """The products with what a host's configuration allows of each."""
    return _OnHost(config, drivers)
