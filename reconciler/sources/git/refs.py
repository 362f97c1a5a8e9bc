"""Which commit a branch, tag or commit id means, from the refs of the repository: pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.errors import SourceError, UsageError
from reconciler.text.one_line import quote_path
from reconciler.text.suggestions import find_similar

OBJECT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
COMMIT_ID = re.compile(r"[0-9a-f]{4,40}")
FULL = 40
MOST_COMPARED = 2000
"""Names to compare with an unknown one; each takes some microseconds."""
USUAL = 7
"""Digits from which messages take hexadecimal text for an abbreviated commit id."""
PREFIXES = ("refs/heads/", "refs/tags/", "refs/remotes/")
FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|^[-/.]|/$|\.lock$|//")


@dataclass(frozen=True, slots=True)
class Refs:
    """The refs of a repository.

    Args:
        ids: full name -> object id; for an annotated tag the id of the tag itself.
        default: full name of the branch that HEAD names; empty if it names none.
    """

    ids: Mapping[str, str] = field(default_factory=dict)
    default: str = ""


@dataclass(frozen=True, slots=True)
class Ref:
    """A ref: its full name, and the id of the object that it names now."""

    name: str
    id: str


def check_ref(ref: str) -> str:
    """The same ref, if its form is valid.

    Raises:
        UsageError: no branch, tag or commit id can have this form.
    """
    # Also keeps options of git and revision expressions out of its command line.
    if FORBIDDEN.search(ref):
        raise UsageError(
            f"--ref {quote_path(ref)} is not a name of a branch, a tag or a commit",
            remedy="give a branch, a tag, or a commit id; expressions such as HEAD~1 are not supported",
        )
    return ref


def list_full_names(ref: str) -> tuple[str, ...]:
    """The full names that a short ref such as `heads/main` may mean, by the rule of git (gitrevisions)."""
    return (ref, f"refs/{ref}", *(prefix + ref for prefix in PREFIXES))


def parse_ls_remote(output: str) -> Refs:
    """The answer of `git ls-remote --symref`."""
    ids: dict[str, str] = {}
    default = ""
    for row in output.splitlines():
        first, _, name = row.partition("\t")
        if first.startswith("ref: ") and name == "HEAD" and first.isprintable():
            default = first.removeprefix("ref: ")
        # The server chose these names; `^{}` rows repeat the commits of annotated tags.
        elif OBJECT_ID.fullmatch(first) and name.isprintable() and not name.endswith("^{}"):
            ids[name] = first
    return Refs(ids, default)


def find_ref(refs: Refs, ref: str, *, where: str) -> Ref | None:
    """The ref that the operator means; None if it can only be a commit id.

    Args:
        refs: of the repository.
        ref: a branch, a tag or a full name; empty for the default branch.
        where: the repository, for messages.

    Raises:
        SourceError: the repository is empty, or the name is unknown or means two things.
    """
    if not refs.ids:
        raise SourceError(f"{where} is an empty repository: it has no commit yet", remedy="push a commit")
    if not ref:
        if "HEAD" in refs.ids:
            return Ref("HEAD", refs.ids["HEAD"])
        raise SourceError(
            f"{where} has no default branch: "
            + (f"its HEAD names {refs.default}, which does not exist" if refs.default else "it has no HEAD"),
            remedy=f"give one with --ref: {', '.join(_list_short_names(refs)[:5])}",
        )
    found = [name for name in list_full_names(ref) if name in refs.ids]
    if len({refs.ids[name] for name in found}) > 1:
        raise SourceError(
            f"{where}: {quote_path(ref)} is ambiguous: {' and '.join(found)} differ",
            remedy=f"give the full name: --ref {found[0]}",
        )
    if found:
        return Ref(found[0], refs.ids[found[0]])
    # Names come before ids: a branch may be called `beef`.
    if COMMIT_ID.fullmatch(ref.lower()):
        return None
    raise make_unknown_ref_error(refs, ref, where=where)


def make_unknown_ref_error(refs: Refs, ref: str, *, where: str) -> SourceError:
    """The error for an unknown ref, with similar names."""
    names = _list_short_names(refs)[:MOST_COMPARED]
    near = find_similar(ref.rpartition("/")[2], names, most=5) or names[:5]
    what = "commit" if COMMIT_ID.fullmatch(ref.lower()) and len(ref) >= USUAL else "branch, tag or commit"
    return SourceError(
        f"{where} has no {what} {quote_path(ref)}",
        remedy=f"names there include: {', '.join(near)}" if near else "",
    )


def _list_short_names(refs: Refs) -> list[str]:
    """Short names of branches, then of tags."""
    return [
        name.removeprefix(prefix)
        for prefix in PREFIXES[:2]
        for name in sorted(refs.ids)
        if name.startswith(prefix)
    ]
