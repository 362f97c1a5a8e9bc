"""Forms of text that several schemas share, as pieces of patterns."""

from __future__ import annotations

from typing import Final

BYTE: Final = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
"""A number of an IPv4 address."""

IPV4: Final = f"(?:{BYTE}\\.){{3}}{BYTE}"
"""An IPv4 address."""

IPV6: Final = "[0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f.]*"
"""What an IPv6 address is made of; whether it is one, no pattern of a bearable length says."""
