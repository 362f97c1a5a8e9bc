"""Traces of passes for OpenTelemetry: spans of events and calls, and their delivery.

Nothing of it is imported unless the host configuration has `traces`. Nothing here decides anything, and no
pass waits for it.
"""
