"""What a command that only reads knows of earlier runs and orders."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from reconciler.cli.run_options import RunOptions
from reconciler.cli.state_access import open_writable_state
from reconciler.cli.terminal import Terminal
from reconciler.ports.store import StoreReader

WITHOUT = (
    "--no-state: no state folder is used. Earlier runs, suspensions, approvals and removed nodes are not "
    "known, and guards that need them cannot refuse.\n"
)


@contextmanager
def open_history(
    order: RunOptions, terminal: Terminal, *, names_it: bool = False
) -> Iterator[StoreReader | None]:
    """The store of an order, for reading; None where the order is to do without, which is said.

    Args:
        order: names the state.
        terminal: is told of what is used.
        names_it: whether the state and its watch are named always, not only where a watch gives the state.

    Raises:
        StateError: the store cannot be used.
    """
    if order.state is None:
        terminal.remark(WITHOUT)
        yield None
        return
    with open_writable_state(order.state) as cluster_input:
        if names_it or not cluster_input.is_open:
            terminal.remark(str(cluster_input))
        yield cluster_input.read()
