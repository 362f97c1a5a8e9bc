"""The API of GitHub, also of GitHub Enterprise Server; that of Gitea is made after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from reconciler.forges.answers import read_comment, read_login, shorten_description
from reconciler.forges.api_client import ApiClient
from reconciler.forges.forge import CommitStatus, ForgeComment

_VERSION: Final = "2022-11-28"
_PAGE: Final = "100"
_LONGEST_DESCRIPTION: Final = 140


def make_github_headers(token: str) -> dict[str, str]:
    """Headers of every request to GitHub."""
    return {
        "accept": "application/vnd.github+json",
        "authorization": f"Bearer {token}",
        "x-github-api-version": _VERSION,
    }


def get_github_remedy(status: int) -> str:
    """What to do about a status of GitHub."""
    return {
        401: "give the program a valid token",
        403: "give the job the permission `pull-requests: write` for comments, or `statuses: write` for "
        "commit statuses; a workflow for a pull request from a fork gets a token that can only read",
        404: "check the repository, the number and the commit; GitHub answers 404 also to a token that may "
        "not see the repository",
        410: "the comments of this pull request are closed",
        422: "check the commit; GitHub takes at most 1,000 statuses of one commit and context",
    }.get(status, "")


class GitHubForge:
    """A repository at GitHub; implements `Forge`.

    Args:
        client: of its API.
        repository: `OWNER/NAME`.
    """

    comment_limit = 65_536

    def __init__(self, client: ApiClient, repository: str) -> None:
        self._client = client
        self._repository = f"/repos/{quote(repository, safe='/')}"

    async def read_user(self) -> str:
        """See `Forge`."""
        # The token of a workflow has no access to `GET /user`; GraphQL tells every token whose it is. GitHub
        # Enterprise Server has it beside the REST API, at /api/graphql.
        root = self._client.api.removesuffix("/v3")
        answer = await self._client.call(
            "POST", "/graphql", body={"query": "query { viewer { login } }"}, url=root
        )
        try:
            login = answer.value["data"]["viewer"]["login"]
        except (KeyError, TypeError):
            raise self._client.make_shape_error() from None
        return read_login(login, self._client)

    async def list_comments(self, number: int) -> Sequence[ForgeComment]:
        """See `Forge`."""
        path = f"{self._repository}/issues/{number}/comments"
        found = await self._client.list_pages(path, {"per_page": _PAGE})
        return [read_comment(one, "user", "login", self._client) for one in found]

    async def create_comment(self, number: int, body: str) -> ForgeComment:
        """See `Forge`."""
        path = f"{self._repository}/issues/{number}/comments"
        answer = await self._client.call("POST", path, body={"body": body})
        return read_comment(answer.value, "user", "login", self._client)

    async def update_comment(self, number: int, comment: int, body: str) -> None:  # noqa: ARG002  (of GitLab)
        """See `Forge`."""
        await self._client.call("PATCH", f"{self._repository}/issues/comments/{comment}", body={"body": body})

    async def delete_comment(self, number: int, comment: int) -> None:  # noqa: ARG002  (of GitLab)
        """See `Forge`."""
        await self._client.call("DELETE", f"{self._repository}/issues/comments/{comment}")

    async def write_status(self, status: CommitStatus) -> None:
        """See `Forge`."""
        body = {
            "state": status.state.value,
            "context": status.context,
            "description": shorten_description(status.description, _LONGEST_DESCRIPTION),
            **({"target_url": status.target} if status.target else {}),
        }
        await self._client.call(
            "POST", f"{self._repository}/statuses/{quote(status.commit, safe='')}", body=body
        )
