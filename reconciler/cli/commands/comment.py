"""`reconcile comment`: keep one comment of a pull request up to date."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Final

import typer

from reconciler.cli.forge_options import ForgeOptions
from reconciler.cli.options import CommonOptions, add_command, make_app
from reconciler.errors import UsageError

app = make_app()

LARGEST: Final = 16 * 1024 * 1024
"""Bytes of the text at most."""


@add_command(app)
def run_comment(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="The text in Markdown, as `reconcile --dry-run --format markdown` writes it; - for standard "
            "input.",
        ),
    ],
    *,
    number: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Number of the pull request. Default: that of the CI system.",
            show_default=False,
        ),
    ] = 0,
    id: Annotated[
        str,
        typer.Option(
            "--id",
            metavar="ID",
            help="Name of the comment, where a pull request has several, such as one for each folder.",
        ),
    ] = "",
    user: Annotated[
        str,
        typer.Option(
            metavar="LOGIN",
            help="Author of the comment that is updated. Default: the user of the token.",
            show_default=False,
        ),
    ] = "",
    options: ForgeOptions,
    common: CommonOptions,
) -> int:
    """Write the plan of a dry run into one comment of a pull request, or update the one that is there.

    Ends with 0 if the comment has the text afterwards, and with 1 otherwise. The token is in
    RECONCILE_FORGE_TOKEN, or in the file that RECONCILE_FORGE_TOKEN_FILE names.
    """
    from reconciler.cli.forge_options import PATIENCE, read_job
    from reconciler.forges.connection import repeat_until_done
    from reconciler.forges.sticky_comment import COMMENT_ID, keep_comment, make_comment, make_comment_mark
    from reconciler.host import aio

    if id and not re.fullmatch(COMMENT_ID, id):
        raise UsageError(
            "--id must begin with a letter or a digit, and have at most 64 letters, digits and . _ / -",
            remedy="use a shorter or simpler id",
        )
    environment = common.read_environment()
    job = read_job(environment)
    repository = options.find_repository(job)
    number = number or job.number
    if number <= 0:
        raise UsageError(
            "the pull request is not known: the job was not started for one",
            remedy="name it with --number, or run the command for pull requests only",
        )
    text = _read_text(file)

    async def put_comment() -> str:
        async with options.open(repository, environment) as forge:
            body = make_comment(text, make_comment_mark(id), forge.comment_limit)
            return await repeat_until_done(
                lambda: keep_comment(forge, number, body, user=user), seconds=PATIENCE
            )

    result = aio.run_until_signal(put_comment())
    common.open_terminal(for_people=False).say(f"Comment of {repository.name} {number}: {result}.\n")
    return 0


def _read_text(file: Path) -> str:
    import sys

    try:
        with nullcontext(sys.stdin.buffer) if str(file) == "-" else file.open("rb") as opened:
            raw = opened.read(LARGEST + 1)
    except OSError as error:
        raise UsageError(
            f"{file}: {error.strerror or 'it cannot be read'}", remedy="check the path"
        ) from None
    if len(raw) > LARGEST:
        raise UsageError(f"{file} has more than {LARGEST:,} bytes", remedy="name the Markdown of a dry run")
    text = raw.decode(errors="replace")
    if not text.strip():
        raise UsageError(
            f"{file} is empty", remedy="write the plan into it: `reconcile --dry-run --format markdown`"
        )
    return text
