"""This machine as one value: what its configuration and its environment say."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from reconciler.host.config import HostConfig
from reconciler.host.environment import Environment


@dataclass(frozen=True, slots=True)
class Host:
    """What this machine allows, passed from the entry point to whatever needs it.

    Args:
        config: from the host's file, or the defaults.
        environment: as it was when the program started.
        file: the host's file; None where there is none.
    """

    config: HostConfig = field(default_factory=HostConfig)
    environment: Environment = field(default_factory=Environment)
    file: Path | None = None

    def commands(self, *, applying: bool) -> frozenset[str] | None:
        """Names of the commands that a tree may ask for; None where that is not known.

        Where there is no host file and nothing is applied, as for a pull request, another host will run them.
        """
        return None if self.file is None and not applying else frozenset(self.config.commands)
