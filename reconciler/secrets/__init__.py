"""Secrets in files: where they are referred to, found in plain text, masked and moved out.

Pure, except `local_resolver`, which looks values up on this machine.
"""
