"""Who runs this process, according to the operating system."""

from __future__ import annotations

import os
import platform
import pwd

from reconciler.core.actor import Actor


def get_current_actor(*, claim: str = "", why: str = "") -> Actor:
    """The user, machine and terminal of this process.

    Args:
        claim: name that the caller gives with `--by`.
        why: reason that the caller gives.
    """
    # Variables such as USER are ignored: any caller can set them.
    return Actor(get_user_name(os.getuid()), platform.node(), _terminal(), claim, why)


def get_user_name(number: int) -> str:
    """The name of a user of this machine; `user NUMBER` without a name."""
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
