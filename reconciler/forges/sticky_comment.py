"""One comment of a pull request that is kept up to date, found again by a hidden mark."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

from reconciler.errors import ForgeError, ForgeUnreachable
from reconciler.forges.forge import Forge, ForgeComment

PLAIN_MARK: Final = "<!-- reconcile: plan -->"
"""First line of a comment without an id; that of a plan as Markdown has it too."""

COMMENT_ID: Final = r"[A-Za-z0-9][A-Za-z0-9._/\-]{0,63}"
"""Form of the id of a comment, where a pull request has several."""

_MOST_ROUNDS: Final = 4
_GONE: Final = frozenset({404, 410})
_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})")
_UNFIT: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class CommentResult(StrEnum):
    """What became of the comment."""

    CREATED = "created"
    UPDATED = "updated"
    SAME = "already up to date"


def make_comment_mark(comment_id: str) -> str:
    """The hidden first line of a comment; the id is empty for the only one."""
    return f"<!-- reconcile: plan {comment_id} -->" if comment_id else PLAIN_MARK


def make_comment(text: str, mark: str, limit: int) -> str:
    """The text with its mark, in at most `limit` characters; a sentence says what is left out.

    Characters are counted in units of UTF-16: some servers count so, and the others count fewer.
    """
    cleaned = _UNFIT.sub("\ufffd", text.replace("\r\n", "\n")).removeprefix(f"{PLAIN_MARK}\n")
    whole = f"{mark}\n{cleaned}"
    if _count_units(whole) <= limit:
        return whole
    note = (
        f"\n\n_The rest is left out: a comment has at most {limit:,} characters. The output of the job has "
        "the whole text._\n"
    )
    kept, end, used = [mark], "", _count_units(mark + note)
    open_parts, fence = 0, ""
    for line in cleaned.split("\n"):
        found = _FENCE.match(line)
        if found and not fence:
            fence = found[1]
        elif found and found[1].startswith(fence) and not line.strip().strip(fence[0]):
            fence = ""
        elif not fence:
            open_parts = max(0, open_parts + line.count("<details") - line.count("</details>"))
        used += _count_units(line) + 1
        closing = (f"\n{fence}" if fence else "") + "\n</details>" * open_parts
        if used + len(closing) > limit:
            break
        kept.append(line)
        end = closing
    return "\n".join(kept) + end + note


def _count_units(text: str) -> int:
    return len(text) + sum(1 for one in text if one > "\uffff")


def select_own_comments(comments: Iterable[ForgeComment], user: str, mark: str) -> Sequence[ForgeComment]:
    """The comments of a user that begin with a mark, the oldest first.

    Anybody can write the mark. A comment of somebody else is neither changed nor believed.
    """
    own = [
        one for one in comments if one.author == user and one.body.replace("\r", "").split("\n", 1)[0] == mark
    ]
    return sorted(own, key=lambda one: one.id)


async def keep_comment(forge: Forge, number: int, body: str, *, user: str = "") -> CommentResult:
    """Create the comment of a pull request, or update it; afterwards there is one.

    Two jobs at the same time may both find none and create one. So each reads the list again after it has
    created one: both keep the oldest and delete the others of their own.

    Args:
        forge: with the pull request.
        number: of the pull request.
        body: begins with its mark.
        user: login of the own user; empty to ask the forge.

    Raises:
        ForgeError: the forge refuses.
        ForgeUnreachable: it does not answer; the same call may succeed later.
    """
    user = user or await forge.read_user()
    mark, result = body.split("\n", 1)[0], CommentResult.SAME
    for _ in range(_MOST_ROUNDS):
        own = select_own_comments(await forge.list_comments(number), user, mark)
        if not own:
            if result is CommentResult.CREATED:  # the list does not show it yet
                return result
            # The forge knows better who writes with this token than what it answered before.
            user = (await forge.create_comment(number, body)).author or user
            result = CommentResult.CREATED
            continue
        first, *others = own
        try:
            if first.body.replace("\r", "").strip() != body.strip():
                await forge.update_comment(number, first.id, body)
                result = result if result is CommentResult.CREATED else CommentResult.UPDATED
            for other in others:
                await _delete(forge, number, other.id)
        except ForgeError as error:
            if error.status in _GONE:  # deleted since it was listed
                continue
            raise
        return result
    raise ForgeUnreachable(
        f"the comments of {number} change again and again",
        remedy="let only one job for a pull request write a comment at a time",
    )


async def _delete(forge: Forge, number: int, comment: int) -> None:
    try:
        await forge.delete_comment(number, comment)
    except ForgeError as error:
        if error.status not in _GONE:
            raise
