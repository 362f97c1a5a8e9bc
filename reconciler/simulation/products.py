"""The simulators of products: found by kind, their options, and fleets that they generate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from enum import Enum
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from reconciler.core.endpoint import SocketAddress
from reconciler.errors import UsageError
from reconciler.simulation.addresses import keep_loopback_address

if TYPE_CHECKING:
    from reconciler.ports.driver import Driver
    from reconciler.ports.simulator import Simulator

FIRST: Final = SocketAddress("127.0.0.1", 20_001)
"""Default address of the first node of a generated fleet."""

_LAST_PORT: Final = 65_535
_BOOLEANS: Final = {"true": True, "yes": True, "false": False, "no": False}


def find_simulator(kind: str, cluster: str, drivers: Mapping[str, Driver[Any, Any]]) -> Simulator:
    """The simulator of a cluster's product.

    Raises:
        UsageError: there is no simulator for this kind.
    """
    found = drivers[kind].simulator() if kind in drivers else None
    if found is None:
        raise UsageError(f"{cluster}: there is no simulator for kind {kind!r}")
    return found


def list_simulated_kinds(drivers: Mapping[str, Driver[Any, Any]]) -> list[str]:
    """The kinds with a simulator, sorted."""
    return sorted(kind for kind, driver in drivers.items() if driver.capabilities.simulation)


def parse_choices(texts: Iterable[str], drivers: Mapping[str, Driver[Any, Any]]) -> dict[str, Any]:
    """Kind -> its `Choices`, changed by texts of the form `KIND.OPTION=VALUE`.

    Raises:
        UsageError: unknown option or invalid value.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        kind, _, option = name.partition(".")
        simulator = drivers[kind].simulator() if kind in drivers else None
        if simulator is None or not option:
            raise UsageError(
                f"invalid choice {text!r}: expected KIND.OPTION=VALUE",
                remedy=f"KIND is one of {', '.join(list_simulated_kinds(drivers))}",
            )
        current = found.get(kind) or simulator.options
        option = option.replace("-", "_")
        known = [each.name for each in fields(current)] if current is not None else []
        if option not in known:
            raise UsageError(f"unknown choice {option!r} of {kind}", remedy=f"one of {', '.join(known)}")
        found[kind] = replace(current, **{option: _parse_value(name, value, getattr(current, option))})
    return found


def _parse_value(name: str, text: str, like: Any) -> Any:
    """Convert a text to the type of the option's default."""
    if isinstance(like, Enum):
        kinds = type(like)
        if text not in [each.value for each in kinds]:
            raise UsageError(
                f"{name} cannot be {text!r}", remedy=f"one of {', '.join(each.value for each in kinds)}"
            )
        return kinds(text)
    if isinstance(like, bool):
        if text not in _BOOLEANS:
            raise UsageError(f"{name} cannot be {text!r}", remedy="use true or false")
        return _BOOLEANS[text]
    if isinstance(like, int):
        if not text.isdecimal():
            raise UsageError(f"{name} cannot be {text!r}", remedy="use a whole number")
        return int(text)
    return text


def generate_fleet(
    kind: str,
    nodes: int,
    drivers: Mapping[str, Driver[Any, Any]],
    first: SocketAddress = FIRST,
    *,
    server: str = "",
) -> Mapping[str, str]:
    """The files of a fleet: path -> text; the same arguments give the same files.

    Args:
        kind: the product.
        nodes: number of nodes.
        drivers: kind -> product.
        first: address of the first node. The port counts up from 127.0.0.1; the host counts up from any other
            address of 127.0.0.0/8.
        server: URL of the central server that the nodes poll; they then have no addresses.

    Raises:
        UsageError: unknown product, not enough addresses, or a product whose nodes do not poll.
    """
    simulator = drivers[kind].simulator() if kind in drivers else None
    if simulator is None:
        raise UsageError(
            f"unknown kind {kind!r}", remedy=f"one of {', '.join(list_simulated_kinds(drivers))}"
        )
    if server:
        return simulator.make_polling_fleet(nodes, server)
    return simulator.sample_fleet(list(_count_up_addresses(nodes, first)), same_port=first.host != FIRST.host)


def _count_up_addresses(count: int, first: SocketAddress) -> Iterator[SocketAddress]:
    keep_loopback_address("the first node", first)
    if first.host == "localhost":
        raise UsageError("the first address must be numeric, not localhost", remedy=f"for example {FIRST}")
    # The last address is checked first: no fleet is generated of which only a part can be served.
    last = SocketAddress(first.host, first.port + count - 1)
    if first.host != FIRST.host:
        last = SocketAddress(str(ip_address(first.host) + count - 1), first.port)
    if last.port > _LAST_PORT or not ip_address(last.host).is_loopback:
        raise UsageError(
            f"there are fewer than {count} addresses from {first} on", remedy="start with a lower one"
        )
    for index in range(count):
        if first.host == FIRST.host:
            yield SocketAddress(first.host, first.port + index)
        else:
            yield SocketAddress(str(ip_address(first.host) + index), first.port)
