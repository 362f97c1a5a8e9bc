"""Who runs this process, by the word of the operating system alone."""

from __future__ import annotations

import os
import platform
import pwd

from reconciler.core.actor import Actor


def get_current_actor(*, claim: str = "", why: str = "") -> Actor:
    """The user of this process, this machine and the terminal; variables such as `USER` count for nothing.

    Args:
        claim: whose word it is, as the caller says.
        why: as the caller says.
    """
    return Actor(get_user_name(os.getuid()), platform.node(), _terminal(), claim, why)


def get_user_name(number: int) -> str:
    """The name of a user of this machine, with the number where it has none."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _terminal() -> str:
    for stream in (0, 1, 2):
        try:
            return os.ttyname(stream).removeprefix("/dev/")
        except OSError:
            continue
    return ""
