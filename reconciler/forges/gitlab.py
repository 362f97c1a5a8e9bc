"""The API of GitLab, version 4."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from reconciler.errors import ForgeError
from reconciler.forges.answers import read_comment, read_rest_user, shorten_description
from reconciler.forges.api_client import ApiClient
from reconciler.forges.forge import CommitStatus, ForgeComment, StatusState

_PAGE: Final = "20"
"""Notes of one answer: each may have a million characters."""

_STATES: Final = {
    StatusState.PENDING: "pending",
    StatusState.SUCCESS: "success",
    StatusState.FAILURE: "failed",
}
_LONGEST_DESCRIPTION: Final = 255
_SAME_STATE: Final = "Cannot transition status via :enqueue"
_BAD_REQUEST: Final = 400


def make_gitlab_headers(token: str) -> dict[str, str]:
    """Headers of every request to GitLab."""
    return {"accept": "application/json", "private-token": token}


def get_gitlab_remedy(status: int) -> str:
    """What to do about a status of GitLab."""
    return {
        401: "give the program a valid access token; the token of a job (CI_JOB_TOKEN) may not write notes",
        403: "give the access token the scope `api`, and the role Reporter for notes or Developer for "
        "commit statuses; protected variables are missing in pipelines of forks and of unprotected branches",
        404: "check the project, the number and the commit; GitLab answers 404 also to a token that may not "
        "see the project",
    }.get(status, "")


class GitLabForge:
    """A project at GitLab; implements `Forge`. Its comments are notes of a merge request.

    Args:
        client: of its API.
        project: number or path of the project.
    """

    comment_limit = 1_000_000

    def __init__(self, client: ApiClient, project: str) -> None:
        self._client = client
        self._project = f"/projects/{quote(project, safe='')}"

    async def read_user(self) -> str:
        """See `Forge`."""
        return await read_rest_user(self._client, "username")

    async def list_comments(self, number: int) -> Sequence[ForgeComment]:
        """See `Forge`."""
        query = {"per_page": _PAGE, "order_by": "created_at", "sort": "asc"}
        found = await self._client.list_pages(self._get_notes(number), query)
        return [read_comment(one, "author", "username", self._client) for one in found]

    async def create_comment(self, number: int, body: str) -> ForgeComment:
        """See `Forge`."""
        answer = await self._client.call("POST", self._get_notes(number), body={"body": body})
        return read_comment(answer.value, "author", "username", self._client)

    async def update_comment(self, number: int, comment: int, body: str) -> None:
        """See `Forge`."""
        await self._client.call("PUT", f"{self._get_notes(number)}/{comment}", body={"body": body})

    async def delete_comment(self, number: int, comment: int) -> None:
        """See `Forge`."""
        await self._client.call("DELETE", f"{self._get_notes(number)}/{comment}")

    async def write_status(self, status: CommitStatus) -> None:
        """See `Forge`."""
        body = {
            "state": _STATES[status.state],
            "name": status.context,
            "description": shorten_description(status.description, _LONGEST_DESCRIPTION),
            **({"target_url": status.target} if status.target else {}),
        }
        path = f"{self._project}/statuses/{quote(status.commit, safe='')}"
        try:
            await self._client.call("POST", path, body=body)
        except ForgeError as error:
            # GitLab refuses "pending" for what is pending or runs already, and keeps the earlier description.
            if error.status != _BAD_REQUEST or _SAME_STATE not in error.message:
                raise

    def _get_notes(self, number: int) -> str:
        return f"{self._project}/merge_requests/{number}/notes"
