"""Run git: cancellable, time-bound, deaf to the environment of hooks, never asking at a terminal.

Subprocesses of asyncio, not GitPython: its calls cannot be cancelled from an event loop, and they hand
on GIT_DIR and GIT_INDEX_FILE, which git sets wherever it runs a hook.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from reconciler.errors import SourceError, SourceUnreachable

SECONDS = 300.0
FOREIGN = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_SHALLOW_FILE",
    "GIT_TRACE",
    "GIT_TRACE_CURL",
    "GIT_WORK_TREE",
)
"""Variables that would lead git to another repository, or its trace into the messages."""

STEADY = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LANGUAGE": "C",
    "LC_ALL": "C",
}
STEADY_CONFIG = (
    ("advice.detachedHead", "false"),
    ("core.fsmonitor", "false"),
    ("core.hooksPath", os.devnull),
    ("fetch.unpackLimit", "1"),  # keep packs: git writes them through to the disk, loose objects it does not
    ("gc.autoDetach", "false"),
    ("http.lowSpeedLimit", "100"),
    ("http.lowSpeedTime", "60"),
    ("maintenance.autoDetach", "false"),
)


class GitFailed(Exception):
    """Git ended with an error; `words` is what it wrote, in English."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words


@dataclass(frozen=True, slots=True)
class Git:
    """How git is run for one source.

    Args:
        environment: what it starts from, usually `os.environ`.
        config: settings for this source, beyond the user's own.
        variables: environment for this source.
        seconds: for one command.
    """

    environment: Mapping[str, str]
    config: Sequence[tuple[str, str]] = ()
    variables: tuple[tuple[str, str], ...] = ()
    seconds: float = SECONDS

    async def run(self, *arguments: str, folder: str) -> bytes:
        """Standard output of one git command; see `_ended_well`."""
        return (await self._ended_well(arguments, folder))[0]

    async def told(self, *arguments: str, folder: str) -> str:
        """What one git command wrote to standard error; see `_ended_well`."""
        return (await self._ended_well(arguments, folder))[1].decode("utf-8", "replace")

    async def _ended_well(self, arguments: Sequence[str], folder: str) -> tuple[bytes, bytes]:
        """What one git command wrote to standard output and to standard error.

        Args:
            arguments: the command, without `git`; anything secret goes into `config` or `variables`.
            folder: where it runs.

        Raises:
            GitFailed: it ended with an error.
            SourceUnreachable: it did not end within `seconds`.
            SourceError: git is not installed.
        """
        try:
            running = await asyncio.create_subprocess_exec(
                "git",
                "-C",
                folder,
                *arguments,
                env=self._environment(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise SourceError("git is not installed, or not on the PATH", remedy="Install git.") from None
        try:
            async with asyncio.timeout(self.seconds):
                output, complaint = await running.communicate()
        except TimeoutError:
            raise SourceUnreachable(
                f"git {_verb(arguments)} did not end within {self.seconds:g} seconds",
                remedy="Look at the network and at the size of the repository.",
            ) from None
        finally:
            await _ended(running)
        if running.returncode:
            raise GitFailed(complaint.decode("utf-8", "replace"))
        return output, complaint

    def _environment(self) -> dict[str, str]:
        kept = {key: value for key, value in self.environment.items() if key not in FOREIGN}
        kept |= {"GIT_ASKPASS": kept.get("GIT_ASKPASS", ""), **STEADY, **dict(self.variables)}
        kept.setdefault("GIT_ALLOW_PROTOCOL", "file:http:https:ssh")
        count = kept.get("GIT_CONFIG_COUNT", "")
        start = int(count) if count.isdecimal() else 0
        for number, (key, value) in enumerate((*STEADY_CONFIG, *self.config), start=start):
            kept |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
            kept["GIT_CONFIG_COUNT"] = str(number + 1)
        return kept


def _verb(arguments: Sequence[str]) -> str:
    return next(argument for argument in arguments if not argument.startswith("-"))


async def _ended(running: asyncio.subprocess.Process) -> None:
    """Kill what is left of it, with the programs that it started: ssh, remote helpers."""
    if running.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        await running.communicate()
