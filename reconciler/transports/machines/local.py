"""This machine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from reconciler.host.environment import make_child_environment
from reconciler.host.subprocesses import OutputTooLarge, ProgramResult, ProgramTimeout, run_program_async
from reconciler.ports.call_permit import ask_permit
from reconciler.transports.machines.machine import OUTPUT_KEPT, SUDO, Machine


class LocalMachine(Machine):
    """Runs programs on this machine.

    Args:
        environment: of this process; a program gets the safe part of it.
        sudo: run programs with sudo.
        variables: further variables that programs get.
    """

    def __init__(
        self, environment: Mapping[str, str], *, sudo: bool = False, variables: Sequence[str] = ()
    ) -> None:
        self._environment = make_child_environment(environment, *variables)
        self._prefix = SUDO if sudo else ()

    @property
    def place(self) -> str:
        return "this machine"

    async def run(
        self,
        arguments: Sequence[str],
        *,
        content: bytes = b"",
        seconds: float,
        limit: int = OUTPUT_KEPT,
        tail: bool = False,
    ) -> ProgramResult:
        await ask_permit(seconds)
        try:
            return await run_program_async(
                (*self._prefix, *arguments),
                environment=self._environment,
                seconds=seconds,
                data=content or None,
                limit=limit,
                tail=tail,
            )
        except (ProgramTimeout, OutputTooLarge) as error:
            if not self._prefix or os.geteuid() == 0:
                raise
            # Only root ends what sudo has started.
            words = str(error).removesuffix(" and was killed")
            raise type(error)(f"{words}, and what sudo started may still run on this machine") from error
