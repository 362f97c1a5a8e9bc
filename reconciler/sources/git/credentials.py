"""Credentials for git: tokens, keys and host keys, passed where no process list shows them."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.sources.git.command import GitSettings, read_user_setting
from reconciler.sources.source_address import SourceAddress, read_token

TOKEN = "RECONCILE_GIT_TOKEN"  # noqa: S105  (the variable's name)
USER = "RECONCILE_GIT_USER"
ANYONE = "x-access-token"
"""The user that forges accept with a token if the URL has none."""

HELPER = (
    f'!answer() {{ test "$1" = get && printf "username=%s\\npassword=%s\\n" "${USER}" "${TOKEN}"; }}; answer'
)
SSH = "-o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=20 -o ControlMaster=no"


def make_git_settings(address: SourceAddress, environment: Mapping[str, str]) -> GitSettings:
    """How git is run to reach an address.

    A token goes through the environment to a credential helper that answers for this host only. The helpers
    of the user are then left out, so that none of them stores it; without a token they are used. ssh uses the
    configuration of the user, never prompts, and refuses unknown host keys, unless GIT_SSH_COMMAND or GIT_SSH
    is set.

    Args:
        address: address of the repository.
        environment: usually `os.environ`.
    """
    settings = GitSettings.remote(environment)
    if address.scheme == "ssh" and not environment.get("GIT_SSH_COMMAND") and not environment.get("GIT_SSH"):
        command = read_user_setting(environment, "--get", "core.sshCommand").strip() or "ssh"
        return settings.extend(variables={"GIT_SSH_COMMAND": f"{command} {SSH}"})
    if address.scheme not in ("http", "https"):
        return settings
    token = read_token(environment, TOKEN)
    settings = settings.extend(confidential=tuple(filter(None, (token, address.password))))
    scope = f"credential.{address.scheme}://{address.host}"
    secret = (token if address.confidential else "") or address.password
    if secret:
        variables = {USER: address.user or ANYONE, TOKEN: secret, "GIT_ASKPASS": ""}
        # An empty helper first removes those of the user from the list.
        return settings.extend(("credential.helper", ""), (f"{scope}.helper", HELPER), variables=variables)
    return settings.extend((f"{scope}.username", address.user)) if address.user else settings
