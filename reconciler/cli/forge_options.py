"""Options of commands that write to a forge: which one, which repository, with which token."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from reconciler.errors import UsageError
from reconciler.forges.forge import PUBLIC_GITHUB, ForgeKind, ForgeRepository
from reconciler.host.credentials import FORGE_TOKEN, name_file_variable, read_credential
from reconciler.text.one_line import quote_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager

    from reconciler.forges.ci_job import CiJob
    from reconciler.forges.forge import Forge

PATIENCE: Final = 180.0
"""Seconds within which a command repeats what a forge could not answer."""

_REPOSITORY: Final = r"[A-Za-z0-9_.\-]+(/[A-Za-z0-9_.\-]+)+"
_PROJECT: Final = rf"[0-9]+|{_REPOSITORY}"
_LARGEST_EVENT: Final = 25 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgeOptions:
    """Options that name a repository at a forge; a CI system names it, too."""

    forge: Annotated[
        ForgeKind | None,
        typer.Option(
            "--forge",
            help="Kind of the forge; gitea is Forgejo, too. Default: that of the CI system.",
            show_default=False,
        ),
    ] = None
    api_url: Annotated[
        str,
        typer.Option(
            "--api-url",
            metavar="URL",
            help="Its API, such as https://git.example.com/api/v4. Default: that of the CI system, else "
            "GitHub's.",
            show_default=False,
        ),
    ] = ""
    repository: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="OWNER/NAME; at GitLab also the number of the project. Default: that of the CI system.",
        ),
    ] = ""

    def find_repository(self, job: CiJob) -> ForgeRepository:
        """The repository that the options name, else the CI system.

        Raises:
            UsageError: something is not named, or not in its form.
        """
        from reconciler.forges.connection import check_forge_url  # noqa: PLC0415  (--help stays quick)

        kind = self.forge or job.kind
        if kind is None:
            raise UsageError(
                "the forge is not known: this is no job of GitHub Actions, GitLab CI or Gitea Actions",
                remedy="name it with --forge, --api-url and --repository",
            )
        of_job = job if job.kind is kind else None
        api = self.api_url or (of_job.api if of_job else "")
        if not api and kind is ForgeKind.GITHUB:
            api = PUBLIC_GITHUB
        if not api:
            raise UsageError(f"the address of the API of {kind} is not known", remedy="add --api-url URL")
        name = self.repository or (of_job.repository if of_job else "")
        form = _PROJECT if kind is ForgeKind.GITLAB else _REPOSITORY
        if not re.fullmatch(form, name) or any(part in {".", ".."} for part in name.split("/")):
            raise UsageError(
                f"{quote_text(name)} is not the name of a repository"
                if name
                else "the repository is not known",
                remedy="write --repository OWNER/NAME",
            )
        return ForgeRepository(kind, check_forge_url(api), name)

    def open(
        self, repository: ForgeRepository, environment: Mapping[str, str]
    ) -> AbstractAsyncContextManager[Forge]:
        """The repository, called with the token of the environment.

        Raises:
            UsageError: there is no token, or it cannot be used.
        """
        from reconciler.core.api_login import check_token  # noqa: PLC0415  (as above)
        from reconciler.forges.connection import open_forge  # noqa: PLC0415  (as above)
        from reconciler.sources.http_routes import make_http_transport  # noqa: PLC0415

        token = check_token(read_credential(environment, FORGE_TOKEN), FORGE_TOKEN)
        if not token:
            raise UsageError(
                f"there is no token for {repository.api}",
                remedy=f"set {FORGE_TOKEN}, or {name_file_variable(FORGE_TOKEN)} to a file with it; "
                "pipelines of forks do not get it",
            )
        # A server without TLS is on this machine; a proxy of the environment would get the token in clear.
        routes = environment if repository.api.startswith("https:") else {}
        return open_forge(repository, token, partial(make_http_transport, routes))


def read_job(environment: Mapping[str, str]) -> CiJob:
    """The job of the CI system in which the command runs.

    Raises:
        UsageError: the file of its event cannot be read.
    """
    from reconciler.core.json_reader import JsonError, JsonLimits, read_json  # noqa: PLC0415  (--help stays quick)
    from reconciler.forges.ci_job import EVENT_FILE, read_ci_job  # noqa: PLC0415
    from reconciler.host.files import FileRefused, read_regular  # noqa: PLC0415

    event, file = None, environment.get(EVENT_FILE, "")
    if file:
        limits = JsonLimits(size=_LARGEST_EVENT, values=1_000_000)
        try:
            event = read_json(read_regular(Path(file), limit=_LARGEST_EVENT), limits)
        except (FileRefused, JsonError) as error:
            raise UsageError(
                f"{EVENT_FILE}: the file {quote_text(file)} {error}",
                remedy="unset the variable, and name the pull request by options",
            ) from None
    return read_ci_job(environment, event)
