"""Run git: an exact environment, a named git directory, bounded in time and output, never at a terminal.

Git obeys whatever configuration it finds, and much of it names programs: filters, hooks, `core.fsmonitor`,
`core.sshCommand`, `include.path`. No option switches all of that off. So no command here looks for a
repository, and none is given a git directory whose configuration somebody else wrote:

- `Git.local` reads objects in a `Repository` of ours, which may have its objects from elsewhere. It sees
  neither the user's nor the system's configuration, and has no way to the network.
- `Git.remote` reaches other repositories. It sees the user's and the system's configuration, since those
  hold proxies, certificates and credential helpers of this host.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reconciler.errors import SourceError, SourceUnreachable
from reconciler.host.environment import NETWORK, child_environment
from reconciler.host.process import Ended, OutputTooLarge, ProcessTimeout, ProgramMissing, run_process
from reconciler.sources.limits import LIMITS

SECONDS = 300.0
OUTPUT = 128 * 1024 * 1024
"""Bytes that one command may write: the ids of three million commits."""

LISTING = 32 * 1024 * 1024
"""Bytes that `ls-remote` may write: half a million refs."""

PACK = LIMITS.pack_bytes
"""Bytes of one file that git may write: a pack of what was fetched."""

MEMORY = 4 * 1024 * 1024 * 1024
"""Bytes of address space that git may have: an object of any size packs into a few bytes."""

REMOTE = (
    *NETWORK,
    "GIT_ASKPASS", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSH_VARIANT", "SSH_AUTH_SOCK",
    "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_SSL_CERT", "GIT_SSL_KEY", "KRB5CCNAME", "KRB5_CONFIG",
    "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_SYSTEM",
)  # fmt: skip
"""Variables with which this host's operator says how other repositories are reached."""

STEADY = {
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LANGUAGE": "C",
    "LC_ALL": "C",
}
STEADY_CONFIG = (
    ("advice.detachedHead", "false"),
    ("core.commitGraph", "false"),  # a file beside the objects, which may say of parents what it likes
    ("core.fsmonitor", "false"),
    ("core.hooksPath", os.devnull),
    ("core.packedGitLimit", "1g"),  # how much of packs is in its address space at once
    ("core.packedGitWindowSize", "64m"),
    ("fetch.recurseSubmodules", "false"),
    ("fetch.unpackLimit", "1"),  # keep packs: git writes them through to the disk, loose objects it does not
    ("gc.autoDetach", "false"),
    ("http.lowSpeedLimit", "100"),
    ("http.lowSpeedTime", "60"),
    ("maintenance.autoDetach", "false"),
    ("pack.threads", "2"),  # each takes address space of its own
    ("safe.bareRepository", "explicit"),
)
NOWHERE = {
    "GIT_ALLOW_PROTOCOL": "",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_SYSTEM": os.devnull,
}
"""No configuration but the repository's, and no transport: also none for objects of a partial clone."""

PROTOCOLS = "file:http:https:ssh"


class GitFailed(Exception):
    """Git ended with an error; `words` is what it wrote, in English."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words


@dataclass(frozen=True, slots=True)
class Repository:
    """A git directory whose configuration this program wrote.

    Args:
        directory: where it is.
        objects: the object folder of another repository that is read in the place of its own; may be empty.
    """

    directory: str
    objects: str = ""


@dataclass(frozen=True, slots=True)
class Git:
    """How git is run for one purpose; made by `local` or `remote`.

    Args:
        environment: all that the program starts with, but for what `config` adds.
        config: settings for this purpose.
        repository: which is given to every command; None for commands that need none.
        seconds: for one command.
        pack: bytes of one file that it may write.
    """

    environment: Mapping[str, str]
    config: Sequence[tuple[str, str]] = ()
    repository: Repository | None = None
    seconds: float = SECONDS
    pack: int = PACK

    @classmethod
    def local(
        cls,
        environment: Mapping[str, str],
        repository: Repository,
        *,
        config: Sequence[tuple[str, str]] = (),
        variables: Mapping[str, str] | None = None,
        seconds: float = SECONDS,
    ) -> Git:
        """Git for reading objects: deaf to every configuration but ours, without a way to the network.

        Args:
            environment: of this process; what is not known to be harmless is left out.
            repository: what is read.
            config: further settings.
            variables: further environment.
            seconds: for one command.
        """
        kept = {**child_environment(environment), **STEADY, **NOWHERE, **(variables or {})}
        if repository.objects:
            kept["GIT_OBJECT_DIRECTORY"] = repository.objects
        return cls(kept, config, repository, seconds)

    @classmethod
    def remote(
        cls,
        environment: Mapping[str, str],
        *,
        config: Sequence[tuple[str, str]] = (),
        variables: Mapping[str, str] | None = None,
        seconds: float = SECONDS,
    ) -> Git:
        """Git for reaching other repositories, with the configuration of the user and of the system.

        Args:
            environment: of this process; what is not known to be harmless is left out.
            config: further settings.
            variables: further environment, such as a credential, which nothing else is given.
            seconds: for one command.
        """
        settings = tuple(_settings(environment))
        kept = {**child_environment(environment, *REMOTE), **STEADY, "GIT_ALLOW_PROTOCOL": PROTOCOLS}
        kept.setdefault("GIT_ASKPASS", "")
        return cls({**kept, **(variables or {})}, (*settings, *config), None, seconds)

    async def run(self, *arguments: str, folder: str = "/", limit: int = OUTPUT) -> bytes:
        """Standard output of one git command; see `_ended_well`."""
        return (await self._ended_well(arguments, folder, limit)).out

    async def told(self, *arguments: str, folder: str = "/") -> str:
        """What one git command wrote to standard error; see `_ended_well`."""
        return (await self._ended_well(arguments, folder)).error.decode("utf-8", "replace")

    async def _ended_well(self, arguments: Sequence[str], folder: str, limit: int = OUTPUT) -> Ended:
        """One git command, once it has succeeded.

        Args:
            arguments: the command, without `git`; anything secret goes into `variables`.
            folder: where it runs; only for commands that read a work tree.
            limit: bytes that it may write to standard output.

        Raises:
            GitFailed: it ended with an error.
            SourceUnreachable: it did not end within `seconds`.
            SourceError: git is not installed, or it wrote more than `limit`.
        """
        # Without a git directory git would look for one, from its folder upwards.
        directory = self.repository.directory if self.repository else os.devnull
        command = ["git", f"--git-dir={directory}", *arguments]
        try:
            ended = await run_process(
                command,
                environment=self._environment(),
                seconds=self.seconds,
                folder=folder,
                limit=limit,
                largest_file=self.pack,
                memory=MEMORY,
            )
        except ProgramMissing as error:
            raise SourceError(f"git cannot be run: {error}", remedy="Install git.") from None
        except ProcessTimeout:
            raise SourceUnreachable(
                f"git {_verb(arguments)} did not end within {self.seconds:g} seconds",
                remedy="Look at the network and at the size of the repository.",
            ) from None
        except OutputTooLarge:
            raise SourceError(
                f"git {_verb(arguments)} gave more than {limit:,} bytes",
                remedy="Use a smaller repository for the desired state.",
            ) from None
        if ended.status:
            raise GitFailed(ended.error.decode("utf-8", "replace"))
        return ended

    def _environment(self) -> dict[str, str]:
        kept = dict(self.environment)
        for number, (key, value) in enumerate((*STEADY_CONFIG, *self.config)):
            kept |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
            kept["GIT_CONFIG_COUNT"] = str(number + 1)
        return kept


def _settings(environment: Mapping[str, str]) -> Sequence[tuple[str, str]]:
    """Git settings that this process was given in its environment."""
    count = environment.get("GIT_CONFIG_COUNT", "")
    numbers = range(int(count)) if count.isdecimal() and len(count) <= 3 else ()  # noqa: PLR2004
    pairs = ((f"GIT_CONFIG_KEY_{number}", f"GIT_CONFIG_VALUE_{number}") for number in numbers)
    return [
        (environment[key], environment[value]) for key, value in pairs if {key, value} <= environment.keys()
    ]


def _verb(arguments: Sequence[str]) -> str:
    return next(argument for argument in arguments if not argument.startswith("-"))
