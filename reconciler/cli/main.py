"""The entry point: finds the command, runs it, and turns whatever went wrong into words and a status."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence

from reconciler import __version__
from reconciler.cli.standard_streams import release_streams, replace_closed_streams
from reconciler.core.defect import REPORT, name_error
from reconciler.errors import ReconcilerError, UsageError
from reconciler.host.environment import Environment

SIGNALLED = 128
"""Exit status of a program that a signal ended, less the signal's number: 130 after Ctrl-C."""

PIPE_CLOSED = 141
DEBUG = "RECONCILE_DEBUG"

_DESIRED = ("fleet.yaml", "fleet.yml", "fleet.json", "setting.json")
"""Files by which a folder is known to hold desired state."""


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> int:
    """Run one command line and give its exit status; nothing is raised, whatever happens.

    Args:
        arguments: without the program's name; the process's own where None.
        environment: of the process. Where it is None and no arguments are given either, this is the process's
            entry point: its environment is read, and what is not to be seen by others is wiped.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    replace_closed_streams()
    if given[:1] == ["--version"]:
        sys.stdout.write(f"reconcile {__version__}\n")
        return 0
    if environment is None:
        environment = _own_environment(sealed=arguments is None)
    try:
        _tolerate_poor_terminals()
        _show_defects(environment)
        status = _dispatch(given, Environment(environment))
        sys.stdout.flush()
    except ReconcilerError as error:
        status = _explain(error, environment)
    except KeyboardInterrupt as stop:
        _complain("Stopped on request. What was done so far is in `reconcile history`.\n")
        status = SIGNALLED + getattr(stop, "number", signal.SIGINT)
    except BrokenPipeError:
        release_streams()
        status = PIPE_CLOSED
    except Exception as error:  # noqa: BLE001  (the last resort: words instead of a traceback)
        _apologise(error, environment)
        status = 1
    return status


def _own_environment(*, sealed: bool) -> Mapping[str, str]:
    if not sealed:
        return dict(os.environ)
    from reconciler.host.environment import seal_environment  # noqa: PLC0415  (--version stays quick)

    return seal_environment()


def _dispatch(given: list[str], environment: Environment) -> int:
    from importlib import import_module  # noqa: PLC0415  (--version stays quick)

    from reconciler.cli.command_table import COMMANDS, DEFAULT  # noqa: PLC0415

    command = COMMANDS.get(given[0]) if given else None
    if command is not None and any(os.path.lexists(f"{given[0]}/{name}") for name in _DESIRED):
        _complain(f"note: `{given[0]}` runs the command; for the folder of that name write ./{given[0]}\n")
    if command is None:
        _suggest(given, COMMANDS)
        return _invoke(import_module(DEFAULT.module), "reconcile", given, environment)
    return _invoke(import_module(command.module), f"reconcile {given[0]}", given[1:], environment)


def _suggest(given: Sequence[str], commands: Iterable[str]) -> None:
    """A word that is not a folder, but nearly a command, is a slip."""
    word = given[0] if given else ""
    if not word.isalpha() or os.path.lexists(word):
        return
    from reconciler.text.suggestions import find_nearest  # noqa: PLC0415

    if near := find_nearest(word, commands, cutoff=0.7):
        raise UsageError(
            f"there is no command and no folder {word!r}", remedy=f"did you mean `reconcile {near}`?"
        )


def _invoke(module: object, name: str, arguments: list[str], environment: Environment) -> int:
    """Parse and run; what the parser refuses becomes a `UsageError`."""
    import typer  # noqa: PLC0415

    command = typer.main.get_command(module.app)  # type: ignore[attr-defined]
    try:
        with command.make_context(name, arguments, obj=environment) as context:
            status = command.invoke(context)
    except typer.TyperException as error:
        raise UsageError(error.format_message().rstrip("."), remedy=f"see `{name} --help`") from error
    except typer.Exit as end:
        return end.exit_code
    except typer.Abort as abort:
        raise KeyboardInterrupt from abort
    return status if isinstance(status, int) else 0


def _explain(error: ReconcilerError, environment: Mapping[str, str]) -> int:
    from reconciler.cli.render.error import render_error  # noqa: PLC0415

    _show_traceback(environment)
    _complain(render_error(error))
    return error.exit_status


def _apologise(error: Exception, environment: Mapping[str, str]) -> None:
    """The type and the place only: a message of the depths may quote a secret."""
    _show_traceback(environment)
    _complain(
        f"error: reconcile {__version__} failed unexpectedly: "
        f"{name_error(error)}\n"
        "  This is a defect in the program. What was done so far is in `reconcile history`.\n"
        f"  → {REPORT}\n"
    )


def _show_defects(environment: Mapping[str, str]) -> None:
    """Where somebody debugs, the traces of defects that only one node brought out are shown, too."""
    if environment.get(DEBUG):
        import logging  # noqa: PLC0415

        class Shown(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                _complain(_masked(f"{self.format(record)}\n", environment))

        log = logging.getLogger("reconciler")
        log.setLevel(logging.DEBUG)
        log.handlers = [Shown()]


def _show_traceback(environment: Mapping[str, str]) -> None:
    if environment.get(DEBUG):
        import traceback  # noqa: PLC0415

        _complain(_masked(traceback.format_exc(), environment))


def _masked(text: str, environment: Mapping[str, str]) -> str:
    """A trace without secrets: the words of libraries quote what they were given."""
    from reconciler.host.credentials import list_known_credentials  # noqa: PLC0415
    from reconciler.secrets.redaction import Redactor  # noqa: PLC0415

    return Redactor(list_known_credentials(environment)).text(text)


def _complain(text: str) -> None:
    try:
        sys.stdout.flush()
        sys.stderr.write(text)
        sys.stderr.flush()
    except BrokenPipeError:
        release_streams()
    except OSError:  # a full disk behind standard error: there is nobody left to tell
        return


def _tolerate_poor_terminals() -> None:
    """A terminal that lacks a character shows an escape for it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
