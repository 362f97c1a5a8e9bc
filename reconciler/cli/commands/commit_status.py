"""`reconcile commit-status`: set the status of a commit at a forge."""

from __future__ import annotations

import re
from typing import Annotated, Final

import typer

from reconciler.cli.forge_options import ForgeOptions
from reconciler.cli.options import CommonOptions, add_command, make_app
from reconciler.errors import UsageError
from reconciler.forges.forge import StatusState

app = make_app()

_CONTEXT: Final = r"[^\x00-\x1f\x7f]{1,100}"
_COMMIT: Final = r"[0-9a-f]{40}|[0-9a-f]{64}"
_TARGET: Final = r"https?://[^\s\x00-\x1f\x7f]{1,2000}"

_BY_EXIT_STATUS: Final = {
    "0": (StatusState.SUCCESS, "Nothing to do"),
    "2": (StatusState.SUCCESS, "Changes are pending"),
    "3": (StatusState.FAILURE, "A guard refused the plan"),
}
_NO_PLAN: Final = (StatusState.FAILURE, "The plan could not be made in full")


@add_command(app)
def run_commit_status(
    result: Annotated[
        str,
        typer.Argument(
            metavar="RESULT",
            help="pending, success or failure; or the exit status of `reconcile --dry-run "
            "--detailed-exitcode`: 0 and 2 are a success, any other one is a failure.",
        ),
    ],
    *,
    description: Annotated[
        str, typer.Option(metavar="TEXT", help="A short sentence. Default: what the exit status means.")
    ] = "",
    name: Annotated[
        str,
        typer.Option(
            "--context", metavar="NAME", help="Name of the status; a later one with this name replaces it."
        ),
    ] = "reconcile",
    commit: Annotated[
        str,
        typer.Option(
            metavar="ID", help="Full id of the commit. Default: that of the CI system.", show_default=False
        ),
    ] = "",
    target_url: Annotated[
        str,
        typer.Option(
            metavar="URL", help="Page that the status links. Default: that of the job.", show_default=False
        ),
    ] = "",
    options: ForgeOptions,
    common: CommonOptions,
) -> int:
    """Set the status of a commit, which a forge shows at the commit and its pull requests.

    Ends with 0 if the status is set, and with 1 otherwise. The token is in RECONCILE_FORGE_TOKEN, or in the
    file that RECONCILE_FORGE_TOKEN_FILE names.
    """
    from reconciler.cli.forge_options import PATIENCE, read_job
    from reconciler.forges.connection import repeat_until_done
    from reconciler.forges.forge import CommitStatus
    from reconciler.host import aio
    from reconciler.text.one_line import bound_sentence

    state, meaning = _read_result(result)
    environment = common.read_environment()
    job = read_job(environment)
    repository = options.find_repository(job)
    commit, target = commit or job.commit, target_url or job.url
    if not re.fullmatch(_COMMIT, commit):
        raise UsageError(
            "the commit is not known, or not a full id of 40 or 64 digits", remedy="name it with --commit"
        )
    if not re.fullmatch(_CONTEXT, name):
        raise UsageError("--context must be one line of at most 100 characters", remedy="use a shorter name")
    if target and not re.fullmatch(_TARGET, target):
        raise UsageError(
            "--target-url must be an http or https URL", remedy="correct the URL, or leave it out"
        )
    status = CommitStatus(commit, state, name, bound_sentence(description) or meaning, target)

    async def set_status() -> None:
        async with options.open(repository, environment) as forge:
            await repeat_until_done(lambda: forge.write_status(status), seconds=PATIENCE)

    aio.run_until_signal(set_status())
    terminal = common.open_terminal(for_people=False)
    terminal.say(f"Status {name} of {commit[:12]} in {repository.name}: {state}.\n")
    return 0


def _read_result(text: str) -> tuple[StatusState, str]:
    """State and description by a word or an exit status."""
    if text in set(StatusState):
        return StatusState(text), ""
    if re.fullmatch(r"[0-9]{1,3}", text):
        return _BY_EXIT_STATUS.get(text, _NO_PLAN)
    raise UsageError(
        "the result must be pending, success, failure or an exit status",
        remedy="see `reconcile commit-status --help`",
    )
