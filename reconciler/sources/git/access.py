"""Credentials for git: tokens, keys and host keys, passed where no process list shows them."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.sources.git.command import Git, GitCommandFailed, GitSettings
from reconciler.sources.source_address import SourceAddress, read_token

TOKEN = "RECONCILE_GIT_TOKEN"  # noqa: S105  (the variable's name)
USER = "RECONCILE_GIT_USER"
ANYONE = "x-access-token"
"""The user that forges accept with a token if the URL has none."""

HELPER = (
    f'!answer() {{ test "$1" = get && printf "username=%s\\npassword=%s\\n" "${USER}" "${TOKEN}"; }}; answer'
)
SSH = "-o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=20 -o ControlMaster=no"


def make_git_settings(place: SourceAddress, environment: Mapping[str, str]) -> GitSettings:
    """How git is run to reach an address.

    A token goes through the environment to a credential helper that answers for this host only. The helpers
    of the user are then left out, so that none of them stores it; without a token they are used. ssh uses the
    configuration of the user, never prompts, and refuses unknown host keys, unless GIT_SSH_COMMAND or GIT_SSH
    is set.

    Args:
        place: address of the repository.
        environment: usually `os.environ`.
    """
    if place.scheme == "ssh" and not environment.get("GIT_SSH_COMMAND") and not environment.get("GIT_SSH"):
        command = _read_ssh_command(environment)
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


def _read_ssh_command(environment: Mapping[str, str]) -> str:
    git = Git(settings=GitSettings.remote(environment))
    try:
        found = git.run("config", "--get", "core.sshCommand")
    except GitCommandFailed:  # git ends so if the key is not set
        return "ssh"
    return found.decode("utf-8", "replace").strip() or "ssh"
