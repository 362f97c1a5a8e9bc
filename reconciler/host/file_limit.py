"""How many files and connections this process may have open."""

from __future__ import annotations

import resource
from contextlib import suppress


def extend_file_limit(wanted: int) -> int:
    """Raise the limit of open files to what is wanted, as far as the system allows; gives the limit."""
    # The soft limit is often 1,024, for programs that use select(); the hard limit is what the host allows.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft < limit:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
