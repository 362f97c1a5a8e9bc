"""Where desired state comes from: folders, git repositories and tarballs, each as files at a revision.

Belongs here: fetching, verifying and unpacking safely. Never here: what the files mean.
"""

from typing import Final

CACHE_FOLDER: Final = "sources"
"""Folder for copies of sources, below the state folder or the user's cache folder."""
