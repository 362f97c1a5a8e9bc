"""What a failed call says, without the address that was asked."""

import re

_PLACE = re.compile(r" \([^()]*\)$")


def words(error) -> str:
    """The reason of an error of a transport, which ends with the URL or the host and port that was asked."""
    found, number = _PLACE.subn("", error.reason)
    assert number == 1, error.reason
    return found
