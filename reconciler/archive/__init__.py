"""Archives in memory: a strict reader of tar, and gzip and zstd unpacked within bounds.

Sources read fleets from archives and drivers read packages from nodes: both are input that nobody has
checked. Everything here is bytes in, values out; nothing touches a disk, a network or the clock.
"""
