"""What hands that know other tools type, and the command or option that does it here.

Nothing of this table is ever executed: a word of another tool may mean something else there, and here it
could change nodes.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from reconciler.errors import UsageError
from reconciler.text.one_line import clean_line
from reconciler.text.urls import strip_userinfo

_PLAN: Final = "reconcile --dry-run"
_APPLY: Final = "reconcile"
_REST: Final = frozenset({_PLAN, _APPLY})
"""Commands that take the same arguments, which are repeated in the advice."""


class ForeignWord(NamedTuple):
    """A word of another tool.

    Args:
        command: what to type here; empty if nothing does that.
        meaning: what it does, to follow "to"; or why nothing does that.
    """

    command: str
    meaning: str


_SAME: Final[Mapping[ForeignWord, str]] = {
    ForeignWord(_PLAN, "see what would change"): "plan diff preview noop dry-run dryrun what-if compare",
    ForeignWord(_APPLY, "plan, confirm and apply"): (
        "up sync push deploy update switch reconcile run converge install upgrade create set execute"
    ),
    ForeignWord("reconcile --only NODE", "bring one node into its desired state"): "restart",
    ForeignWord("reconcile validate", "check the files"): "lint fmt test verify syntax-check build",
    ForeignWord("reconcile status", "see the state of each node"): (
        "refresh get list ls ps show describe top events tree stat nodes clusters drift"
    ),
    ForeignWord("reconcile history", "see earlier runs"): "log logs runs audit versions report journal",
    ForeignWord("reconcile import", "write a fleet file from running nodes"): (
        "init new bootstrap dump export generate create-domains get-zones discover"
    ),
    ForeignWord("reconcile rollback", "go back to an earlier commit"): "undo revert downgrade",
    ForeignWord("reconcile suspend", "stop all changes"): "pause stop disable freeze lock cancel",
    ForeignWord("reconcile resume", "allow changes again"): "unpause unfreeze unlock enable start continue",
    ForeignWord("reconcile hold NODE", "keep one node as it is"): "cordon drain ignore exclude",
    ForeignWord("reconcile release NODE", "end such a hold"): "uncordon",
    ForeignWord("reconcile retry NAME", "try again what failed"): "taint replace rerun",
    ForeignWord("reconcile render --explain", "see each value"): "template print-ir output config console",
    ForeignWord("reconcile explain CODE", "understand a code in brackets"): "doc docs man",
    ForeignWord("reconcile watch", "keep nodes as committed"): "daemon server serve agent operator follow",
    ForeignWord("reconcile check", "try every course of a plan"): "simulate-plan graph",
    ForeignWord("reconcile secrets", "encrypt secrets for git"): "vault encrypt decrypt",
    ForeignWord("reconcile state", "see what this host remembers"): "workspace stack backup restore",
    ForeignWord("reconcile state backup", "copy what this host remembers"): "pull",
}
_NOTHING: Final[Mapping[tuple[str, str], str]] = {
    (
        "what the fleet file no longer names is no longer managed after the next run",
        "take it out of the fleet file; `reconcile --dry-run` shows what happens",
    ): "destroy delete down remove rm uninstall prune kill nuke",
    (
        "a lock ends with its process",
        "the next run settles the steps of a run that was killed; `reconcile history` shows both",
    ): "force-unlock",
    (
        "no command sets a guard aside",
        "`reconcile explain CODE` shows the override in git",
    ): "force apply-all",
    (
        "nothing marks a node to be replaced, so there is no mark to take away",
        "`reconcile status` shows the state of each node; `reconcile release NODE` ends a hold",
    ): "untaint",
    (
        "products are built in",
        "`reconcile --dry-run` plans at once; `reconcile import` writes a fleet file from running nodes",
    ): "providers modules stacks metadata",
    (
        "there is no account: a command counts as the user who runs it",
        "`operators` of the host configuration says who may give orders; `reconcile explain host` shows it",
    ): "login logout",
    (
        "desired state is changed in files",
        "edit the files, then `reconcile --dry-run`",
    ): "edit exec",
}
"""What nothing here does, with what to do instead -> words for it."""

WORDS: Final[Mapping[str, ForeignWord]] = {
    **{word: meant for meant, words in _SAME.items() for word in words.split()},
    **{word: ForeignWord("", why) for (why, _), words in _NOTHING.items() for word in words.split()},
}
"""Word -> what to type here."""

READS: Final = frozenset(
    word for word, meant in WORDS.items() if meant.command not in {_APPLY, "reconcile watch"}
)
"""Words that change no nodes elsewhere, or remove something: never taken for a folder to apply."""

OPTIONS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("--auto-approve", "-auto-approve", "--yes-all", "--approve", "--no-input"), "--yes"),
    **dict.fromkeys(("--noop", "--dryrun", "--what-if", "--check-only", "--plan", "-n"), "--dry-run"),
    **dict.fromkeys(("--limit", "--target", "-target", "--selector", "-l", "--node"), "--only NAME"),
    **dict.fromkeys(("--exclude", "--ignore", "--except"), "--skip NAME"),
    **dict.fromkeys(("--json", "-json", "-o", "--output"), "--format json"),
    **dict.fromkeys(("-f", "--file", "-C", "--chdir", "-chdir", "--inventory", "-i"), "the folder as SOURCE"),
    **dict.fromkeys(("--branch", "--revision", "--tag", "--rev", "-b"), "--ref REF"),
    **dict.fromkeys(("-out", "--out-file"), "--out FILE"),
    **dict.fromkeys(("--nocolor", "-no-color", "--no-colour", "--color=never"), "--no-color"),
    **dict.fromkeys(("-detailed-exitcode", "--exit-code"), "--detailed-exitcode"),
    **dict.fromkeys(("-V", "-version"), "--version"),
    **dict.fromkeys(("--debug", "--trace"), "RECONCILE_DEBUG=1 in the environment"),
    "--silent": "--quiet",
}
"""Option -> what to write here."""

FORCE: Final = frozenset({"--force", "--doit", "--override", "--skip-checks", "--no-verify"})
"""Options for which there is none here."""


def refuse_foreign_word(given: Sequence[str]) -> None:
    """Refuse a command of another tool, with the command that is meant.

    Raises:
        UsageError: it is one.
    """
    word = given[0].casefold() if given else ""
    meant = WORDS.get(word)
    if meant is None:
        return
    name = clean_line(given[0])
    if not meant.command:
        remedy = next(remedy for (why, remedy) in _NOTHING if why == meant.meaning)
        raise UsageError(f"there is no command `{name}`: {meant.meaning}", remedy=remedy)
    rest = [strip_userinfo(one, "…@") for one in given[1:]] if meant.command in _REST else []
    command = clean_line(shlex.join([*meant.command.split(), *rest]) if rest else meant.command)
    raise UsageError(
        f"there is no command `{name}`, and nothing was done",
        remedy=f"to {meant.meaning}: `{command}`; for a folder of that name write ./{name}",
    )


_STATE: Final[Mapping[str, str]] = {
    **dict.fromkeys(("list", "show", "ls"), "`reconcile status` shows the nodes and their state"),
    "mv": "write `renamed_from` into the entry of the cluster in the fleet file",
    "rm": "take it out of the fleet file; `reconcile --dry-run` shows what happens",
    "pull": "`reconcile state backup FILE` copies the state",
    "push": "`reconcile state restore FILE` replaces it with a backup",
    "replace-provider": "products are built in",
}
"""Word after `state` in Terraform -> what to do here."""


def suggest_subcommand(path: str, given: Iterable[str]) -> str:
    """What to do for a subcommand of another tool; empty if there is none.

    Args:
        path: the command, such as `reconcile state`.
        given: the arguments of the command line.
    """
    if path != "reconcile state":
        return ""
    return next((_STATE[one] for one in given if one in _STATE), "")


def suggest_option(given: Iterable[str]) -> str:
    """What to write for an option of another tool among these arguments; empty if there is none."""
    for one in given:
        name = one.partition("=")[0]
        if name in FORCE:
            return "no option sets a guard aside; `reconcile explain CODE` shows the override in git"
        if (meant := OPTIONS.get(one) or OPTIONS.get(name)) is not None:
            return f"for `{clean_line(name)}` write {meant if meant.startswith('the ') else f'`{meant}`'}"
    return ""


def suggest_for_extra(given: Sequence[str]) -> str:
    """What to write for words after the source, which are often names of clusters or nodes."""
    pairs = pairwise(["", *given])
    words = [one for before, one in pairs if not one.startswith("-") and not before.startswith("-")]
    return f"to work on some clusters or nodes only, write `--only {clean_line(words[-1])}`" if words else ""
