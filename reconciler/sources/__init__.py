"""Where desired state comes from: folders, git repositories and tarballs, each as files at a revision.

Belongs here: fetching, verifying and unpacking safely. Never here: what the files mean.
"""
