"""The API of Gitea and Forgejo."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.forges.answers import read_comment, read_rest_user
from reconciler.forges.forge import ForgeComment
from reconciler.forges.github import GitHubForge


def make_gitea_headers(token: str) -> dict[str, str]:
    """Headers of every request to Gitea."""
    return {"accept": "application/json", "authorization": f"token {token}"}


def get_gitea_remedy(status: int) -> str:
    """What to do about a status of Gitea."""
    return {
        401: "give the program a valid token",
        403: "give the token the scope `write:issue` for comments, or `write:repository` for commit statuses",
        404: "check the repository, the number and the commit; Gitea answers 404 also to a token that may "
        "not see the repository",
    }.get(status, "")


class GiteaForge(GitHubForge):
    """A repository at Gitea; implements `Forge`. Comments and statuses have the paths of GitHub."""

    async def read_user(self) -> str:
        """See `Forge`."""
        return await read_rest_user(self._client, "login")

    async def list_comments(self, number: int) -> Sequence[ForgeComment]:
        """See `Forge`. This list of Gitea has no pages."""
        found = await self._client.list_pages(f"{self._repository}/issues/{number}/comments", {})
        return [read_comment(one, "user", "login", self._client) for one in found]
