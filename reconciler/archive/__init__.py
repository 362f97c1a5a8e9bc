"""Archives in memory: a strict reader of tar, and gzip and zstd unpacked within bounds.

Sources read fleets from archives and drivers read packages of nodes: both are untrusted input. Everything
here is pure: bytes in, values out, without disk, network or clock.
"""
