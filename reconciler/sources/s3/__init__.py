"""Sources in S3: one package, or the backups that a node of M2 writes below a path.

The bucket must be in an account of the host configuration, which also gives region, endpoint and keys. No
URL, setting or feed chooses where this host connects to, or with which keys.
"""
