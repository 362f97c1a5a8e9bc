"""Opens a forge with a token, and repeats calls that may succeed later."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

from reconciler.core.api_login import check_api_url
from reconciler.errors import ForgeError, ForgeUnreachable
from reconciler.forges.api_client import ApiClient
from reconciler.forges.forge import Forge, ForgeKind, ForgeRepository
from reconciler.forges.gitea import GiteaForge, get_gitea_remedy, make_gitea_headers
from reconciler.forges.github import GitHubForge, get_github_remedy, make_github_headers
from reconciler.forges.gitlab import GitLabForge, get_gitlab_remedy, make_gitlab_headers
from reconciler.host.retry import make_growing_pauses

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0

_HEADERS: Final = {
    ForgeKind.GITHUB: make_github_headers,
    ForgeKind.GITLAB: make_gitlab_headers,
    ForgeKind.GITEA: make_gitea_headers,
}
_FORGES: Final[dict[ForgeKind, Callable[[ApiClient, str], Forge]]] = {
    ForgeKind.GITHUB: GitHubForge,
    ForgeKind.GITLAB: GitLabForge,
    ForgeKind.GITEA: GiteaForge,
}
_REMEDIES: Final = {
    ForgeKind.GITHUB: get_github_remedy,
    ForgeKind.GITLAB: get_gitlab_remedy,
    ForgeKind.GITEA: get_gitea_remedy,
}


def check_forge_url(url: str) -> str:
    """The URL of the API of a forge without a slash at its end; see `check_api_url`."""
    return check_api_url(
        url,
        option="",
        what="an API",
        remedy="write https://HOST/PATH: for GitHub Enterprise Server /api/v3, for GitLab /api/v4, for "
        "Gitea /api/v1",
    )


@asynccontextmanager
async def open_forge(
    repository: ForgeRepository,
    token: str,
    make_transport: Callable[[], httpx.AsyncBaseTransport],
    *,
    wall: Callable[[], float] = time.time,
) -> AsyncIterator[Forge]:
    """A repository at a forge; an error of its calls gets what to do about it at this kind of forge.

    Args:
        repository: whose API was checked by `check_forge_url`.
        token: sent with each request.
        make_transport: makes one with the proxies and certificate authorities of this host. A forge on this
            machine is called without TLS, and without a proxy.
        wall: seconds since 1970.
    """
    client = ApiClient(
        make_transport(),
        repository.api,
        _HEADERS[repository.kind](token),
        token=token,
        where=f"{urlsplit(repository.api).netloc} ({repository.name})",
        wall=wall,
    )
    try:
        yield _FORGES[repository.kind](client, repository.name)
    except ForgeError as error:
        error.remedy = error.remedy or _REMEDIES[repository.kind](error.status)
        raise
    finally:
        await client.aclose()


async def repeat_until_done(
    perform: Callable[[], Awaitable[T]],
    *,
    seconds: float,
    wait: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> T:
    """Perform something at a forge, again after a pause while the forge cannot answer.

    What is performed must be the same if it is done twice: after a lost answer nobody knows whether it was.

    Args:
        perform: one attempt.
        seconds: after which no further attempt begins.
        wait: makes a pause.

    Raises:
        ForgeError: the forge refuses, or does not answer within that time.
    """
    now = asyncio.get_running_loop().time
    end = now() + seconds
    for pause in make_growing_pauses(FIRST_PAUSE, LONGEST_PAUSE):
        try:
            return await perform()
        except ForgeUnreachable as error:
            longer = max(error.wait, pause)
            if now() + longer > end:
                if error.wait > pause:
                    error.message = f"{error.message}; it asks to wait {error.wait:.0f} s"
                raise
            await wait(longer)
    raise AssertionError  # the pauses have no end
