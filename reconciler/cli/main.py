"""The entry point: finds and runs the command, and turns every exception into a message and a status."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence

from reconciler import __version__
from reconciler.cli.standard_streams import (
    DISK_FULL,
    escape_unencodable,
    release_streams,
    replace_closed_streams,
)
from reconciler.core.defect import REPORT, name_error
from reconciler.errors import ReconcilerError, UsageError
from reconciler.host.environment import Environment
from reconciler.host.interpreter import prepare_interpreter

SIGNALLED = 128
"""Exit status after a signal, without the signal's number: 130 after Ctrl-C."""

PIPE_CLOSED = 141
"""Exit status when the reader of standard output closed it: 128 and SIGPIPE, as `cat` has it."""

DEBUG = "RECONCILE_DEBUG"

_BEFORE_COMMAND = frozenset({"-q", "--quiet", "-v", "--verbose", "--no-color"})
"""Options of every command, which may stand before it."""

_DESIRED = ("fleet.yaml", "fleet.yml", "fleet.json", "setting.json")
"""Files that show that a folder contains desired state."""


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> int:
    """Run one command line and give its exit status; raises nothing.

    Args:
        arguments: without the program's name; None for those of the process.
        environment: of the process. If both are None, this is the entry point of the process: secrets are
            wiped from the environment that other processes can see.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    replace_closed_streams()
    if given[:1] == ["--version"]:
        return _print_version()
    if environment is None and arguments is None:
        from reconciler.host.environment import seal_environment  # noqa: PLC0415  (--version stays quick)

        # Before anything else runs: what it starts or logs could pass the secrets on.
        environment = seal_environment()
    elif environment is None:
        environment = dict(os.environ)
    prepare_interpreter()
    from reconciler.cli.output_choices import CHOICES, OutputChoices  # noqa: PLC0415  (--version stays quick)

    CHOICES.set(OutputChoices())
    try:
        escape_unencodable()
        _log_defects(environment)
        status = _dispatch(given, Environment(environment))
        sys.stdout.flush()
    except ReconcilerError as error:
        from reconciler.cli.render.error import render_error  # noqa: PLC0415

        _show_traceback(environment)
        _print_error(render_error(error))
        status = error.exit_status
    except KeyboardInterrupt as stop:
        _print_error("Stopped on request. What was done so far is in `reconcile history`.\n")
        status = SIGNALLED + getattr(stop, "number", signal.SIGINT)
    except BrokenPipeError:
        release_streams()
        status = PIPE_CLOSED
    except Exception as error:  # noqa: BLE001  (the last resort: a message instead of a traceback)
        if isinstance(error, OSError) and error.errno in DISK_FULL and error.filename is None:
            release_streams()
            _print_error(f"error: cannot write the output: {error.strerror}\n")
            return 1
        # The type and the line only: the text of an unexpected exception may quote a secret.
        _show_traceback(environment)
        _print_error(
            f"error: reconcile {__version__} failed unexpectedly: {name_error(error)}\n"
            "  This is a defect in the program. What was done so far is in `reconcile history`.\n"
            f"  → {REPORT}\n"
        )
        status = 1
    return status


def _print_version() -> int:
    try:
        sys.stdout.write(f"reconcile {__version__}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        release_streams()
        return PIPE_CLOSED
    except OSError as error:
        release_streams()
        _print_error(f"error: cannot write to standard output: {error.strerror or error}\n")
        return 1
    return 0


def run_command(given: Sequence[str], environment: Environment) -> int:
    """Run a command from within another one; raises what it raises."""
    return _dispatch(list(given), environment)


def _dispatch(given: list[str], environment: Environment) -> int:
    from importlib import import_module  # noqa: PLC0415  (--version stays quick)

    from reconciler.cli.command_table import COMMANDS, DEFAULT  # noqa: PLC0415
    from reconciler.cli.other_tools import refuse_foreign_word  # noqa: PLC0415

    given = _put_command_first(given, COMMANDS)
    command = COMMANDS.get(given[0]) if given else None
    if command is not None and any(os.path.lexists(f"{given[0]}/{name}") for name in _DESIRED):
        _print_error(f"note: `{given[0]}` runs the command; for the folder of that name write ./{given[0]}\n")
    if command is None:
        if not any(os.path.lexists(f"{given[0]}/{name}") for name in _DESIRED if given) or _is_unsafe(given):
            refuse_foreign_word(given)
        _refuse_misspelt_command(given, COMMANDS)
        return _invoke(import_module(DEFAULT.module), "reconcile", given, environment)
    return _invoke(import_module(command.module), f"reconcile {given[0]}", given[1:], environment)


def _put_command_first(given: list[str], commands: Iterable[str]) -> list[str]:
    """The arguments with the command before options that may stand before it: `reconcile -v status`."""
    place = next((index for index, one in enumerate(given) if one not in _BEFORE_COMMAND), None)
    if not place or given[place] not in commands:
        return given
    return [given[place], *given[:place], *given[place + 1 :]]


def _is_unsafe(given: Sequence[str]) -> bool:
    """Whether a word, as the name of a folder, would change nodes that its reader may only want to see."""
    from reconciler.cli.other_tools import READS  # noqa: PLC0415

    return given[:1] != [] and given[0].casefold() in READS and "--dry-run" not in given


def _refuse_misspelt_command(given: Sequence[str], commands: Iterable[str]) -> None:
    # Letters only: a path, a URL or an option is no misspelt command, whatever it resembles.
    word = given[0] if given else ""
    if not word.replace("-", "").isalpha() or word.startswith("-") or os.path.lexists(word):
        return
    from reconciler.text.suggestions import find_nearest  # noqa: PLC0415

    if near := find_nearest(word, commands, cutoff=0.7):
        raise UsageError(
            f"there is no command and no folder {word!r}", remedy=f"did you mean `reconcile {near}`?"
        )
    raise UsageError(
        f"there is no command and no folder {word!r}",
        remedy="`reconcile help` shows the commands; check the path if a folder is meant",
    )


def _describe_usage_error(error: Exception) -> str:
    """Typer's message; for a wrong value, which pydantic finds, in the words that files have too."""
    from pydantic import ValidationError  # noqa: PLC0415

    from reconciler.documents.model_errors import describe_option_error  # noqa: PLC0415

    param, cause = getattr(error, "param", None), error.__cause__
    if param is None or not isinstance(cause, ValidationError):
        return str(error.format_message()).rstrip(".")  # type: ignore[attr-defined]
    name = max(param.opts, key=len) if param.param_type_name == "option" else param.make_metavar()
    return f"{name} {describe_option_error(cause)}"


def _invoke(module: object, name: str, arguments: list[str], environment: Environment) -> int:
    import typer  # noqa: PLC0415

    from reconciler.cli.other_tools import suggest_for_extra, suggest_option, suggest_subcommand  # noqa: PLC0415

    command = typer.main.get_command(module.app)  # type: ignore[attr-defined]
    try:
        with command.make_context(name, list(arguments), obj=environment) as context:  # it empties the list
            status = command.invoke(context)
    except typer.TyperException as error:  # typer itself would exit with 2, which here means pending changes
        below = getattr(error, "ctx", None)  # of the subcommand whose arguments are wrong
        path = below.command_path if below else name
        message = _describe_usage_error(error)
        remedy = suggest_option(arguments) if message.startswith("No such option") else ""
        if path == "reconcile apply" and message == "Missing argument 'FILE'":
            remedy = (
                "name a plan file, which `reconcile --dry-run --out FILE` writes; to plan, confirm and "
                "apply in one go: `reconcile`"
            )
        if message.startswith("No such command"):
            remedy = suggest_subcommand(path, arguments)
        if message.startswith("Got unexpected extra argument") and arguments:
            remedy = suggest_for_extra(arguments)
        if message.startswith("No such command") and path == "reconcile history":
            remedy = f"to see one run: `reconcile history show {arguments[0]}`"
        raise UsageError(message, remedy=remedy or f"see `{path} --help`") from error
    except typer.Exit as end:
        return end.exit_code
    except typer.Abort as abort:
        raise KeyboardInterrupt from abort
    return status if isinstance(status, int) else 0


def _log_defects(environment: Mapping[str, str]) -> None:
    """With RECONCILE_DEBUG, also show tracebacks of defects that were caught at one node."""
    if environment.get(DEBUG):
        import logging  # noqa: PLC0415

        class MaskingHandler(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                _print_error(_mask(f"{self.format(record)}\n", environment))

        log = logging.getLogger("reconciler")
        log.setLevel(logging.DEBUG)
        log.handlers = [MaskingHandler()]


def _show_traceback(environment: Mapping[str, str]) -> None:
    if environment.get(DEBUG):
        import traceback  # noqa: PLC0415

        _print_error(_mask(traceback.format_exc(), environment))


def _mask(text: str, environment: Mapping[str, str]) -> str:
    # Messages of libraries quote their arguments, which may be credentials.
    from reconciler.host.credentials import list_known_credentials  # noqa: PLC0415
    from reconciler.secrets.redaction import Redactor  # noqa: PLC0415

    return Redactor(list_known_credentials(environment)).redact_text(text)


def _print_error(text: str) -> None:
    try:
        sys.stdout.flush()
        sys.stderr.write(text)
        sys.stderr.flush()
    except BrokenPipeError:
        release_streams()
    except OSError:  # a full disk behind standard error: there is no other place for the message
        return


if __name__ == "__main__":
    sys.exit(main())
