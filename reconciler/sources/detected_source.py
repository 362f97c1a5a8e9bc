"""An http(s) URL that may be a repository or a tarball: the first answer decides."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus

from reconciler.archive.inflate import is_archive
from reconciler.core.prior_revisions import PriorFiles
from reconciler.ports.source import Source
from reconciler.sources.download import TOKEN, open_answer
from reconciler.sources.forwarding_source import ForwardingSource
from reconciler.sources.git.prior_files import make_empty_history
from reconciler.sources.source_address import SourceAddress, read_token

START = 512
"""Bytes that tell whether an answer is an archive: `ustar` is at byte 257."""


class DetectedSource(ForwardingSource):
    """A tarball if the URL answers with an archive, else a git repository; decided at the first use.

    Args:
        address: the URL.
        tarball: makes the source of a tarball.
        git: makes the source of a repository.
        environment: of the process, with the token.
    """

    def __init__(
        self,
        address: SourceAddress,
        *,
        tarball: Callable[[], Source],
        git: Callable[[], Source],
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self.address = address
        self._environment = environment
        self._tarball = tarball
        self._git = git
        self._decided: Source | None = None

    async def read_prior_files(
        self, revision: str, names: Sequence[str], *, base: str = "", applied: Sequence[str] = ()
    ) -> PriorFiles:
        """See `ports.source.Source`; a tarball has no base to compare with."""
        if (await self.target()).has_history:
            return await super().read_prior_files(revision, names, base=base, applied=applied)
        return make_empty_history(self.address.shown, base)

    @property
    def is_dated_by_use(self) -> bool:
        """Whether it is a tarball."""
        return self._decided is not None and self._decided.is_dated_by_use

    async def target(self) -> Source:
        """The tarball or the repository.

        Raises:
            SourceUnreachable: no answer yet, so that this is undecided.
        """
        if self._decided is None:
            self._decided = self._tarball() if await self._answers_archive() else self._git()
        return self._decided

    async def _answers_archive(self) -> bool:
        environment = self._environment
        async with open_answer(
            self.address, token=read_token(environment, TOKEN), headers={}, environment=environment
        ) as response:
            if response.status_code != HTTPStatus.OK:
                return False
            start = b""
            # Only the beginning: the archive itself is downloaded later, within its limits.
            async for piece in response.aiter_raw():
                start += piece
                if len(start) >= START:
                    break
            return is_archive(start)
