"""What is asked of this machine: its configuration, environment, files and processes.

Here belongs what a tree of desired state must not decide. It is read once, at the entry point, and
passed down as a value. Nothing here knows a product, a source or the store.
"""
