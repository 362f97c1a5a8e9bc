"""Where the orders of a command are written: into the state of this host, or by a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from pydantic import ValidationError

from reconciler.api.acts import Act, ReleaseAct, ResultT, RetryAct, UnpinAct
from reconciler.api.orders import Orders
from reconciler.cli.server_client import ServerClient
from reconciler.cli.state_access import StateAccess, open_writable_state
from reconciler.cli.state_folder import find_state
from reconciler.cli.terminal import Terminal
from reconciler.descriptions.act_results import describe_act
from reconciler.documents.model_errors import describe_first_error
from reconciler.errors import UsageError
from reconciler.host import aio
from reconciler.host.actor import get_current_actor
from reconciler.host.host import Host
from reconciler.ports.store import OpenOrders
from reconciler.text.one_line import clean_line

_AnyAct = TypeVar("_AnyAct", bound=Act[Any])


class OrderPlace(Protocol):
    """Where orders are written."""

    @property
    def description(self) -> str:
        """The place for people, one line for each part."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever recorded there, so that there is nothing to end."""

    def read_orders(self) -> OpenOrders:
        """All orders in force.

        Raises:
            ReconcilerError: they cannot be read.
        """

    def give(self, act: Act[ResultT]) -> ResultT:
        """Give an order.

        Raises:
            ReconcilerError: it is refused, or cannot be written.
        """


@dataclass(frozen=True, slots=True)
class OrdersHere:
    """Writes orders into the state of this host, or through the watch that has it open."""

    access: StateAccess

    @property
    def description(self) -> str:
        return str(self.access)

    @property
    def is_empty(self) -> bool:
        return not self.access.exists()

    def read_orders(self) -> OpenOrders:
        return aio.run_until_signal(self.access.read().orders())

    def give(self, act: Act[ResultT]) -> ResultT:
        orders = Orders(self.access.read, self.access.orders)
        actor = get_current_actor(claim=act.by, why=act.reason.strip())
        result = aio.run_until_signal(orders.give(act, actor))
        # Only sooner: a watch finds what it may do again at its next pass, too.
        if isinstance(act, ReleaseAct | RetryAct | UnpinAct):
            self.access.wake_watches()
        return result


@dataclass(frozen=True, slots=True)
class OrdersByServer:
    """Lets a watch elsewhere write orders, as the holder of a token."""

    client: ServerClient

    @property
    def description(self) -> str:
        return str(self.client)

    @property
    def is_empty(self) -> bool:
        return False

    def read_orders(self) -> OpenOrders:
        return self.client.read("/orders", OpenOrders)

    def give(self, act: Act[ResultT]) -> ResultT:
        return self.client.perform(act)


@contextmanager
def open_order_place(host: Host, state: str | None) -> Iterator[OrderPlace]:
    """Where the orders of a command are written.

    Args:
        host: this machine.
        state: the option `--state`; None if it is not given.

    Raises:
        ReconcilerError: it cannot be reached.
    """
    with open_writable_state(find_state(host, state)) as access:
        yield OrdersHere(access)


def make_act(kind: type[_AnyAct], **values: object) -> _AnyAct:
    """An act from the options of a command.

    Raises:
        UsageError: a value is too long, or has a character that cannot be kept.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UsageError(describe_first_error(error), remedy="correct the command line") from None


def give_order(
    act: Act[ResultT], place: OrderPlace, terminal: Terminal, *, nothing: ResultT | None = None
) -> None:
    """Give an order, and tell what came of it and where it was written.

    Args:
        act: the order.
        place: where it is written.
        terminal: where it is told.
        nothing: what comes of it where nothing was ever recorded; None if it is given there, too.

    Raises:
        ReconcilerError: it is refused, or cannot be written.
    """
    result = nothing if nothing is not None and place.is_empty else place.give(act)
    tell_result(act, result, terminal)
    terminal.say(place.description)


def tell_result(act: Act[ResultT], result: ResultT, terminal: Terminal) -> None:
    """Tell what came of an order."""
    text = describe_act(act, result)
    for warning in text.warnings:
        terminal.remark(f"{warning}\n")
    for line in text.lines:
        terminal.say(f"{line}\n")
    label, command = text.ending
    if command:
        terminal.say(f"  → {label}: {clean_line(command)}\n")
