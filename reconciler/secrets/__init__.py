"""Secrets in files: references, secrets in plain text, masks, and references in the place of secrets.

Pure, except `local_resolver`, which reads values on this machine.
"""
