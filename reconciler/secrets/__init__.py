"""Secrets in files: where they are referred to, found in plain text, masked and moved out; pure."""
