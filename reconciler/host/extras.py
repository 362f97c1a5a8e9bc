"""Imports a library of an extra of this package where it is used, or says how to install it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from reconciler.errors import UsageError


def import_extra(module: str, extra: str, purpose: str) -> Any:
    """Import a library that only an extra installs.

    Args:
        module: its name, such as `confluent_kafka`.
        extra: of this package, such as `kafka`.
        purpose: what needs it, to begin a sentence, such as "Kafka brokers".

    Raises:
        UsageError: it is not installed; the message names the command that installs it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        # A module that is missing within an installed library is a fault of that installation.
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise UsageError(
            f"{purpose} need a library that is not installed here: {module}",
            remedy=f"install it: `pip install 'fleet-reconciler[{extra}]'`",
        ) from error
