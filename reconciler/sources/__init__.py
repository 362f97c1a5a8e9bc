"""Where desired state comes from: folders, git repositories, tarballs, each as files at a revision.

Belongs here: fetching, verifying and safely unpacking. Never here: what the files mean.
"""
