"""Whether the files of a folder are those of a commit, found by hashing them, without git.

- Contents count as they lie on disk. No filter is run, so that a file whose line ends were converted, or
  that Git LFS or git-crypt put in the place of a pointer, differs: its bytes are not those of the commit.
- A link and a file differ. Whether a file may be executed does not count: nothing here executes it.
- The index does not count: neither what is staged nor `assume-unchanged`.
- Files in a submodule differ, since the commit does not have them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.errors import SourceError
from reconciler.sources.content_limits import SMALLER
from reconciler.sources.folder_scan import FoundFile, Mark, is_passed_over, read_found_file
from reconciler.sources.git.tree import CommittedFolder
from reconciler.sources.layout import Layout
from reconciler.sources.limits import SourceLimits
from reconciler.text.one_line import format_size


@dataclass
class BlobIdCache:
    """Ids that git would give to files, remembered from one look to the next for files that lie still."""

    limits: SourceLimits
    known: dict[str, tuple[Mark, str]] = field(default_factory=dict)

    def changed(self, layout: Layout, head: CommittedFolder) -> list[str]:
        """Paths that a folder has otherwise than the commit, sorted.

        A file beyond `limits.file_bytes` counts as the commit's: nobody can read it.

        Args:
            layout: what lies in the folder.
            head: what the commit has there.

        Raises:
            SourceError: the files are more than `limits.total_bytes`, or one cannot be read.
            SourceUnreachable: one was changed meanwhile.
        """
        files: Mapping[str, FoundFile] = layout.files
        readable = {path: found for path, found in files.items() if found.bytes <= self.limits.file_bytes}
        if (total := sum(found.bytes for found in readable.values())) > self.limits.total_bytes:
            raise SourceError(
                f"{layout.where} contains {format_size(total)} of files; the limit is "
                f"{format_size(self.limits.total_bytes)}",
                remedy=SMALLER,
            )
        self.known = {path: (found.mark, self._id(path, found)) for path, found in readable.items()}
        ours = {path: id_ for path, (_, id_) in self.known.items()}
        ours |= {path: head.files.get(path, "") for path in files.keys() - readable.keys()}
        links = {path: _blob_id(target.encode()) for path, target in layout.links.items()}
        return sorted(_differing(ours, head.files) | _differing(links, head.links))

    def _id(self, path: str, found: FoundFile) -> str:
        mark, id_ = self.known.get(path, ((), ""))
        return id_ if found.settled and mark == found.mark else _blob_id(read_found_file(found))


def _differing(here: Mapping[str, str], there: Mapping[str, str]) -> set[str]:
    paths = {*here, *(path for path in there if not is_passed_over(path))}
    return {path for path in paths if here.get(path) != there.get(path)}


def _blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0%s" % (len(data), data), usedforsecurity=False).hexdigest()
