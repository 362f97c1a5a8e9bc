"""Which commit a branch, tag or commit id means, from what the repository says it has: pure."""

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
"""Names that are compared with one that is unknown; each costs some microseconds."""
USUAL = 7
"""Digits from which an abbreviated commit id is taken for one in messages."""
PREFIXES = ("refs/heads/", "refs/tags/", "refs/remotes/")
FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|^[-/.]|/$|\.lock$|//")


@dataclass(frozen=True, slots=True)
class Refs:
    """What a repository offers.

    Args:
        ids: full name -> object id; of an annotated tag that of the tag itself.
        default: full name of the branch that HEAD stands for; empty where it names none.
    """

    ids: Mapping[str, str] = field(default_factory=dict)
    default: str = ""


@dataclass(frozen=True, slots=True)
class Ref:
    """A ref that exists, by its full name, and the object it names now."""

    name: str
    id: str


def check_ref(ref: str) -> str:
    """The same ref, if it can be one.

    Raises:
        UsageError: it is no branch, tag or commit id, whatever the repository has.
    """
    if FORBIDDEN.search(ref):
        raise UsageError(
            f"--ref {quote_path(ref)} is not a name of a branch, a tag or a commit",
            remedy="Give a branch, a tag, or a commit id; expressions such as HEAD~1 are not supported.",
        )
    return ref


def list_full_names(ref: str) -> tuple[str, ...]:
    """The full names that a ref as people write it may stand for, such as `heads/main`; git's own rule."""
    return (ref, f"refs/{ref}", *(prefix + ref for prefix in PREFIXES))


def parse_ls_remote(output: str) -> Refs:
    """The answer of `git ls-remote --symref`."""
    ids: dict[str, str] = {}
    default = ""
    for row in output.splitlines():
        first, _, name = row.partition("\t")
        if first.startswith("ref: ") and name == "HEAD" and first.isprintable():
            default = first.removeprefix("ref: ")
        elif OBJECT_ID.fullmatch(first) and name.isprintable() and not name.endswith("^{}"):
            ids[name] = first
    return Refs(ids, default)


def find_ref(refs: Refs, ref: str, *, where: str) -> Ref | None:
    """The ref that a person means; None where it can only be a commit id.

    Args:
        refs: what the repository has.
        ref: a branch, a tag or a full name; empty for the default branch.
        where: the repository, for messages.

    Raises:
        SourceError: the repository is empty, or the name is unknown or means two things.
    """
    if not refs.ids:
        raise SourceError(f"{where} is an empty repository: it has no commit yet", remedy="Push a commit.")
    if not ref:
        if "HEAD" in refs.ids:
            return Ref("HEAD", refs.ids["HEAD"])
        raise SourceError(
            f"{where} has no default branch: "
            + (f"its HEAD names {refs.default}, which does not exist" if refs.default else "it has no HEAD"),
            remedy=f"Give one with --ref: {', '.join(_short(refs)[:5])}.",
        )
    found = [name for name in list_full_names(ref) if name in refs.ids]
    if len({refs.ids[name] for name in found}) > 1:
        raise SourceError(
            f"{where}: {quote_path(ref)} is ambiguous: {' and '.join(found)} differ",
            remedy=f"Give the full name: --ref {found[0]}.",
        )
    if found:
        return Ref(found[0], refs.ids[found[0]])
    if COMMIT_ID.fullmatch(ref.lower()):
        return None
    raise make_unknown_ref_error(refs, ref, where=where)


def make_unknown_ref_error(refs: Refs, ref: str, *, where: str) -> SourceError:
    """The error for a ref that the repository does not have; it names the nearest that it has."""
    names = _short(refs)[:MOST_COMPARED]
    near = find_similar(ref.rpartition("/")[2], names, most=5) or names[:5]
    what = "commit" if COMMIT_ID.fullmatch(ref.lower()) and len(ref) >= USUAL else "branch, tag or commit"
    return SourceError(
        f"{where} has no {what} {quote_path(ref)}",
        remedy=f"Names there include: {', '.join(near)}." if near else "",
    )


def _short(refs: Refs) -> list[str]:
    """Names as people write them: branches, then tags, without those kept for machines."""
    return [
        name.removeprefix(prefix)
        for prefix in PREFIXES[:2]
        for name in sorted(refs.ids)
        if name.startswith(prefix)
    ]
