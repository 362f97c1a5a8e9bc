"""The one table of products: kind -> driver, each loaded when it is first asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from reconciler.core.ports import Driver

_MODULES = {
    "m2": "reconciler.drivers.m2.driver",
    "sora": "reconciler.drivers.sora.driver",
}


class _Drivers(Mapping[str, Driver[Any, Any]]):
    def __getitem__(self, kind: str) -> Driver[Any, Any]:
        driver: Driver[Any, Any] = import_module(_MODULES[kind]).DRIVER
        return driver

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


DRIVERS: Mapping[str, Driver[Any, Any]] = _Drivers()
"""Every product the program knows. A new product is its folder and one line above."""
