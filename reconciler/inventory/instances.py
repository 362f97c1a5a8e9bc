"""Collects the instances of one answer, and refuses answers that contradict themselves."""

from __future__ import annotations

from ipaddress import ip_address

from reconciler.core.endpoint import unmap_address
from reconciler.errors import InventoryError
from reconciler.ports.inventory import LARGEST, Instance
from reconciler.text.one_line import LONGEST_NAME, make_one_line, quote_text


class InstanceCollector:
    """The instances of one answer, each once.

    Args:
        where: names the account in messages.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._found: dict[str, Instance] = {}

    def add(self, instance: str, address: str, name: str) -> None:
        """Add an instance that counts; pages may overlap, so that one may come twice.

        Raises:
            InventoryError: its address is invalid or not the one of an earlier page, or there are too many.
        """
        try:
            # A zone names an interface of one machine: the blank makes it invalid.
            normal = str(unmap_address(ip_address(address.replace("%", " "))))
        except ValueError:
            raise InventoryError(
                f"{self._where} gives {instance} the address {quote_text(address)}, which is none"
            ) from None
        earlier = self._found.setdefault(
            instance, Instance(instance, normal, make_one_line(name, LONGEST_NAME))
        )
        if earlier.address != normal:
            raise InventoryError(
                f"{self._where} gives the instance {instance} two addresses, {earlier.address} and {normal}"
            )
        if len(self._found) > LARGEST:
            raise InventoryError(f"{self._where} finds more than {LARGEST} instances for one expression")

    def list_all(self) -> tuple[Instance, ...]:
        """All of them, sorted by id."""
        return tuple(sorted(self._found.values()))
