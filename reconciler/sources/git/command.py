"""The one way to git: GitPython's command class with an exact environment, a named git directory and bounds.

Git obeys every configuration that it finds, and much of that names programs to run: filters, hooks,
`core.fsmonitor`, `core.sshCommand`, `include.path`. No option switches all of it off. So no command here
looks for a repository, and none gets a git directory whose configuration somebody else wrote:

- `GitSettings.local` reads objects in a `GitDirectory` of ours, which may take its objects from elsewhere. It
  ignores the configuration of the user and of the system, and cannot reach the network.
- `GitSettings.remote` reaches other repositories. It uses the configuration of the user and of the system,
  which has the proxies, certificates and credential helpers of this host.

GitPython itself gives every child the whole environment of this process, names no git directory, and stops
a child but not the children of that. All its commands, those of `Repo` and of its object database included,
go through `Git.execute`, which starts them by `host.subprocesses` instead.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from reconciler.errors import SourceError, SourceUnreachable
from reconciler.host.environment import NETWORK, make_child_environment
from reconciler.host.subprocesses import (
    OutputTooLarge,
    ProgramMissing,
    ProgramResult,
    ProgramTimeout,
    run_program,
)
from reconciler.secrets.redaction import Redactor
from reconciler.sources.content_limits import LIMITS
from reconciler.sources.git import library

SECONDS: Final = 300.0
"""For one command."""

OUTPUT: Final = 128 * 1024 * 1024
"""Bytes that one command may write: the ids of three million commits."""

LISTING: Final = 32 * 1024 * 1024
"""Bytes that `ls-remote` may write: half a million refs."""

PACK: Final = LIMITS.pack_bytes
"""Bytes of one file that git may write: the pack of a fetch."""

MEMORY: Final = 4 * 1024 * 1024 * 1024
"""Bytes of address space for git: an object of any size packs into a few bytes."""

REMOTE: Final = (
    *NETWORK,
    "GIT_ASKPASS", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSH_VARIANT", "SSH_AUTH_SOCK",
    "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_SSL_CERT", "GIT_SSL_KEY", "KRB5CCNAME", "KRB5_CONFIG",
    "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_SYSTEM",
)  # fmt: skip
"""Variables by which the operator configures access to other repositories."""

STEADY: Final = {
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_DEFAULT_HASH": "sha1",  # of repositories that are made here: GitPython reads no others,
    "GIT_DEFAULT_REF_FORMAT": "files",  # nor refs that are no files
    # A partial clone would contact its remote, by the configuration of the repository.
    "GIT_NO_LAZY_FETCH": "1",
    # A replacement would show other files under the id of a signed commit.
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LANGUAGE": "C",
    "LC_ALL": "C",
}
SHIELD: Final = (
    ("core.commitGraph", "false"),  # a file whose parents git believes without a look at the commits
    ("core.fsmonitor", "false"),
    # A fetch runs hooks too (`reference-transaction`).
    ("core.hooksPath", os.devnull),
    ("fetch.recurseSubmodules", "false"),
    ("safe.bareRepository", "explicit"),
)
"""Options of every command; they take precedence over every configuration."""

TUNING: Final = (
    ("advice.detachedHead", "false"),
    ("core.packedGitLimit", "1g"),  # bytes of packs mapped at once: MEMORY would end git on a large one
    ("core.packedGitWindowSize", "64m"),
    ("fetch.unpackLimit", "1"),  # keep packs: git syncs them to the disk, loose objects it does not
    ("gc.autoDetach", "false"),
    ("http.lowSpeedLimit", "100"),
    ("http.lowSpeedTime", "60"),
    ("maintenance.autoDetach", "false"),
    ("pack.threads", "2"),  # each takes address space of its own
)
"""Settings that the configuration of the operator may change."""

NOWHERE: Final = {
    "GIT_ALLOW_PROTOCOL": "",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_SYSTEM": os.devnull,
}
"""No configuration but that of the repository, and no transport, not even for a partial clone."""

# Without `git`, which proves nothing about the server, and `ext`, which runs any program.
PROTOCOLS: Final = "file:http:https:ssh"

VERBS: Final = frozenset({
    "cat-file", "config", "fetch", "init", "ls-files", "ls-remote", "merge-base", "rev-list", "rev-parse",
    "verify-commit", "verify-tag",
})  # fmt: skip
"""Commands that may run: those that read objects, fetch them, or create a repository of ours.

GitPython has methods that run others. `status`, `diff`, `archive`, `add` and `checkout` run the filters that
the configuration of a repository names, and no option prevents it.
"""

_IGNORED_OPTIONS: Final = frozenset({"max_chunk_size", "with_stdout"})
"""Options of the library that have no effect here."""


class GitCommandFailed(library.GitCommandError):
    """Git ended with an error.

    Args:
        verb: the command without its arguments: an address in them may contain a password.
        status: its exit status.
        output: its error output, in English.
    """

    def __init__(self, verb: str, status: int, output: str) -> None:
        super().__init__(("git", verb), status, output)
        self.output = output

    def __str__(self) -> str:
        return self.output


@dataclass(frozen=True, slots=True)
class GitDirectory:
    """A git directory whose configuration this program wrote.

    Args:
        directory: its path.
        objects: the object folder of another repository to read instead of its own; empty for its own.
    """

    directory: str
    objects: str = ""


@dataclass(frozen=True, slots=True)
class GitSettings:
    """How git is run for one purpose; made by `local` or `remote`.

    Args:
        environment: the whole environment, except what `config` adds.
        config: settings for this purpose; a credential may be among them.
        repository: for every command; None for commands without a repository.
        seconds: for one command.
        pack: bytes of one file that it may write.
        folder: working directory; only commands that read a work tree need one.
        verbs: commands allowed besides `VERBS`, in a repository whose files are ours too.
        confidential: secrets that a server may quote: masked in all output of git.
    """

    environment: Mapping[str, str]
    config: Sequence[tuple[str, str]] = ()
    repository: GitDirectory | None = None
    seconds: float = SECONDS
    pack: int = PACK
    folder: str = "/"
    verbs: frozenset[str] = frozenset()
    confidential: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def local(cls, environment: Mapping[str, str], repository: GitDirectory) -> GitSettings:
        """Git for reading objects: no configuration but ours, and no network.

        Args:
            environment: of this process; only variables that are known to be harmless are passed on.
            repository: to read.
        """
        kept = {**make_child_environment(environment), **STEADY, **NOWHERE}
        if repository.objects:
            kept["GIT_OBJECT_DIRECTORY"] = repository.objects
        return cls(kept, repository=repository)

    @classmethod
    def remote(cls, environment: Mapping[str, str]) -> GitSettings:
        """Git for reaching other repositories, with the configuration of the user and of the system.

        Args:
            environment: of this process; only variables that are known to be harmless are passed on.
        """
        kept = {**make_child_environment(environment, *REMOTE), **STEADY, "GIT_ALLOW_PROTOCOL": PROTOCOLS}
        # Empty means that nobody is asked; unset, git tries SSH_ASKPASS, which may open a window.
        kept.setdefault("GIT_ASKPASS", "")
        return cls(kept, tuple(_read_config_variables(environment)))

    def extend(
        self, *config: tuple[str, str], variables: Mapping[str, str] | None = None, **changes: Any
    ) -> GitSettings:
        """The same with further settings of git, further environment, and changed fields."""
        environment = {**self.environment, **(variables or {})}
        return replace(self, environment=environment, config=(*self.config, *config), **changes)

    def child_environment(self) -> dict[str, str]:
        """The exact environment of git.

        Settings are in it and not on the command line, which every user of the machine can read: a header
        with a credential may be among them.
        """
        kept = dict(self.environment)
        # The last setting of a key counts: the operator's come after ours.
        for number, (key, value) in enumerate((*TUNING, *self.config)):
            kept |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
            kept["GIT_CONFIG_COUNT"] = str(number + 1)
        return kept

    def command(self, arguments: Sequence[str]) -> list[str]:
        """The whole command line of a git command.

        Raises:
            ValueError: the command is not allowed here.
        """
        if (verb := _verb(arguments)) not in VERBS | self.verbs:
            raise ValueError(f"git {verb} is not allowed: it may run programs that a configuration names")
        # Without --git-dir git searches for one, from its working directory upwards.
        directory = self.repository.directory if self.repository else os.devnull
        options = [part for key, value in SHIELD for part in ("-c", f"{key}={value}")]
        return ["git", f"--git-dir={directory}", *options, *arguments]


class Git(library.Git):
    """GitPython's command class, shielded. It blocks: see `host.subprocesses.run_blocking`.

    Args:
        working_dir: passed by GitPython, and ignored.
        settings: how git is run; without them it runs nothing.
    """

    def __init__(
        self, working_dir: str | os.PathLike[str] | None = None, *, settings: GitSettings | None = None
    ) -> None:
        super().__init__(working_dir)
        self._settings = settings

    @property
    def settings(self) -> GitSettings:
        """How git is run."""
        assert self._settings is not None, "a repository is opened by repository.open_repository"
        return self._settings

    def changed(self, **changes: Any) -> Git:
        """A copy with other settings."""
        return Git(settings=replace(self.settings, **changes))

    def run(self, *arguments: str) -> bytes:
        """Standard output of one git command; see `execute`."""
        return self._run_checked(arguments).out

    def cat(self, names: Sequence[str], *, limit: int) -> bytes:
        """Headers and contents of objects as `cat-file --batch` writes them, cut after `limit` bytes."""
        data = "".join(f"{name}\n" for name in names).encode()
        return self._run(("cat-file", "--batch", "--buffer"), data=data, cut=limit).out

    def run_for_errors(self, *arguments: str) -> str:
        """Error output of one git command that succeeds; see `execute`."""
        return self._read_errors(self._run_checked(arguments))

    def execute(  # type: ignore[override]  # noqa: D417  (the arguments are the library's)
        self,
        command: Sequence[str],
        istream: None = None,
        with_extended_output: bool = False,  # noqa: FBT001, FBT002
        with_exceptions: bool = True,  # noqa: FBT001, FBT002
        *,
        stdout_as_string: bool = True,
        strip_newline_in_stdout: bool = True,
        **others: Any,
    ) -> Any:
        """Run one git command to its end; everything that GitPython runs goes through here.

        Args:
            command: the command line of GitPython: `git`, then options and arguments.

        Raises:
            GitCommandFailed: it ended with an error.
            SourceUnreachable: it did not finish within `seconds`.
            SourceError: git is not installed, or wrote more than it may.
            ValueError: an option of the library is not supported: a shell, another environment, or a process
                in the background. Stopping such a process blocks while a helper of git holds its pipes, and
                so does reading from it when an object is shorter than its header says.
        """
        if istream is not None or any(
            value and name not in _IGNORED_OPTIONS for name, value in others.items()
        ):
            raise ValueError(f"not supported for git here: {', '.join(sorted(others)) or 'istream'}")
        arguments = [str(part) for part in command[1:]]
        ended = self._run_checked(arguments) if with_exceptions else self._run(arguments)
        out = ended.out.removesuffix(b"\n") if strip_newline_in_stdout else ended.out
        shown = out.decode("utf-8", "surrogateescape") if stdout_as_string else out
        if with_extended_output:
            return ended.status, shown, self._read_errors(ended)
        return shown

    def _run_checked(self, arguments: Sequence[str]) -> ProgramResult:
        ended = self._run(arguments)
        if ended.status:
            raise GitCommandFailed(_verb(arguments), ended.status, self._read_errors(ended))
        return ended

    def _read_errors(self, ended: ProgramResult) -> str:
        """The error output of git, with messages of the server, without secrets."""
        output = ended.error.decode("utf-8", "replace")
        return Redactor(self.settings.confidential).redact_text(output) if output else ""

    def _run(self, arguments: Sequence[str], *, data: bytes | None = None, cut: int = 0) -> ProgramResult:
        settings, verb = self.settings, _verb(arguments)
        limit = cut or (LISTING if verb == "ls-remote" else OUTPUT)
        try:
            return run_program(
                settings.command(arguments),
                environment=settings.child_environment(),
                seconds=settings.seconds,
                folder=settings.folder,
                data=data,
                limit=limit,
                cut=cut > 0,
                largest_file=settings.pack,
                memory=MEMORY,
            )
        except ProgramMissing as error:
            raise SourceError(f"git cannot be run: {error}", remedy="install git") from None
        except ProgramTimeout:
            raise SourceUnreachable(
                f"git {verb} did not finish within {settings.seconds:g} seconds",
                remedy="check the network and the size of the repository",
            ) from None
        except OutputTooLarge:
            raise SourceError(
                f"git {verb} returned more than {limit:,} bytes",
                remedy="use a smaller repository for the desired state",
            ) from None


def read_user_setting(environment: Mapping[str, str], *query: str) -> str:
    """A value in the configuration of the user or of the system; empty if it is not set.

    Args:
        environment: of this process.
        query: arguments of `git config`.
    """
    try:
        found = Git(settings=GitSettings.remote(environment)).run("config", *query)
    except GitCommandFailed:  # git ends so if the key is not set
        return ""
    return found.decode("utf-8", "surrogateescape").rstrip("\n")


def _read_config_variables(environment: Mapping[str, str]) -> Sequence[tuple[str, str]]:
    """Settings of git in the environment of this process."""
    count = environment.get("GIT_CONFIG_COUNT", "")
    numbers = range(int(count)) if count.isdecimal() and len(count) <= 3 else ()  # noqa: PLR2004
    pairs = ((f"GIT_CONFIG_KEY_{number}", f"GIT_CONFIG_VALUE_{number}") for number in numbers)
    return [
        (environment[key], environment[value]) for key, value in pairs if {key, value} <= environment.keys()
    ]


def _verb(arguments: Sequence[str]) -> str:
    return next((argument for argument in arguments if not argument.startswith("-")), "")
