"""Who git says it is: tokens, keys and host keys, handed over where no process list shows them."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.sources.git.command import Git, GitCommandFailed, GitSettings
from reconciler.sources.source_address import SourceAddress, read_token

TOKEN = "RECONCILE_GIT_TOKEN"  # noqa: S105  (the variable's name)
USER = "RECONCILE_GIT_USER"
ANYONE = "x-access-token"
"""The user that forges take beside a token if the URL names none."""

HELPER = (
    f'!answer() {{ test "$1" = get && printf "username=%s\\npassword=%s\\n" "${USER}" "${TOKEN}"; }}; answer'
)
SSH = "-o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=20 -o ControlMaster=no"


def make_git_settings(place: SourceAddress, environment: Mapping[str, str]) -> GitSettings:
    """How git is run to reach an address.

    A token goes through the environment into a credential helper that answers for this host only; the
    user's own helpers are left out then, so that none of them stores it. Without a token they are
    asked as ever. ssh takes the user's configuration, never asks, and refuses unknown host keys,
    unless GIT_SSH_COMMAND or GIT_SSH is set.

    Args:
        place: where the repository is.
        environment: usually `os.environ`.
    """
    if place.scheme == "ssh" and not environment.get("GIT_SSH_COMMAND") and not environment.get("GIT_SSH"):
        command = _ssh_command(environment)
        return GitSettings.remote(environment, variables={"GIT_SSH_COMMAND": f"{command} {SSH}"})
    if place.scheme not in ("http", "https"):
        return GitSettings.remote(environment)
    given = read_token(environment, TOKEN)
    confidential = tuple(filter(None, (given, place.password)))
    origin = f"{place.scheme}://{place.host}"
    secret = (given if place.confidential else "") or place.password
    if secret:
        user = place.user or ANYONE
        config = (("credential.helper", ""), (f"credential.{origin}.helper", HELPER))
        variables = {USER: user, TOKEN: secret, "GIT_ASKPASS": ""}
        return GitSettings.remote(environment, config=config, variables=variables, confidential=confidential)
    if place.user:
        named = ((f"credential.{origin}.username", place.user),)
        return GitSettings.remote(environment, config=named, confidential=confidential)
    return GitSettings.remote(environment, confidential=confidential)


def _ssh_command(environment: Mapping[str, str]) -> str:
    git = Git(settings=GitSettings.remote(environment))
    try:
        found = git.run("config", "--get", "core.sshCommand")
    except GitCommandFailed:  # its way to say that the key is not set
        return "ssh"
    return found.decode("utf-8", "replace").strip() or "ssh"
