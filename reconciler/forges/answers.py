"""What the APIs of all forges have in common in their answers, and in what they take."""

from __future__ import annotations

from typing import Any

from reconciler.errors import ForgeError
from reconciler.forges.api_client import ApiClient
from reconciler.forges.forge import ForgeComment


def read_comment(value: Any, user: str, login: str, client: ApiClient) -> ForgeComment:
    """A comment as a forge shows it.

    Args:
        value: as it was read.
        client: that read it.
        user: member with the user who wrote it.
        login: member of that with the name.

    Raises:
        ForgeError: it is not of this form.
    """
    try:
        number, body = value["id"], value["body"]
        # The user of a deleted account is null.
        author = (value[user] or {}).get(login, "")
    except (KeyError, TypeError, AttributeError):
        raise client.make_shape_error() from None
    if not isinstance(number, int) or not isinstance(body, str | None) or not isinstance(author, str):
        raise client.make_shape_error()
    return ForgeComment(number, author, body or "")


def shorten_description(text: str, most: int) -> str:
    """A description of at most `most` characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


async def read_rest_user(client: ApiClient, member: str) -> str:
    """The login that `GET /user` answers.

    Raises:
        ForgeError: the token has no user, or may not read it.
    """
    try:
        answer = await client.call("GET", "/user")
    except ForgeError as error:
        if error.status in {403, 404}:
            error.message = f"{error.message}; this is the user of the token"
            error.remedy = "let the token read its user, or name the login with --user"
        raise
    value = answer.value
    return read_login(value.get(member) if isinstance(value, dict) else None, client)


def read_login(login: Any, client: ApiClient) -> str:
    """The name of a user as a forge shows it.

    Raises:
        ForgeError: it is not of this form.
    """
    if not isinstance(login, str) or not login:
        raise client.make_shape_error()
    return login
