"""Whose signatures count on this host, and whether a revision carries one."""
