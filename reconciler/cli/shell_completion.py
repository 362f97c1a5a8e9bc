"""Completion of a line in a shell: what may follow, from the commands' own options and the last state.

Names come from files that others wrote, so that a name may contain anything: what cannot be typed on one line
is left out, and everything else is quoted for the shell. Nothing here writes, asks a node, or uses
the network.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

from reconciler.cli.command_table import COMMANDS, DEFAULT
from reconciler.text.one_line import UNSEEN

if TYPE_CHECKING:
    import typer

_BASH: Final = """# bash completion of reconcile
_reconcile() {
  local line kind
  COMPREPLY=()
  while IFS= read -r line; do
    if [ -z "$kind" ]; then kind=$line; continue; fi
    COMPREPLY+=("$line")
  done < <(command reconcile completion bash "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
  case $kind in
    files) compopt -o default 2>/dev/null ;;
    open) compopt -o nospace 2>/dev/null ;;
  esac
}
complete -F _reconcile reconcile
"""

_ZSH: Final = """#compdef reconcile
# zsh completion of reconcile
_reconcile() {
  local -a found
  local line="${(j: :)${(@)words[1,CURRENT-1]}} ${PREFIX}"
  found=("${(@f)$(command reconcile completion zsh "$line" 2>/dev/null)}")
  if [[ ${found[1]} == files ]]; then compset -P '--*='; _files; return; fi
  compadd -- "${(@)found[2,-1]}"
}
if [ "$funcstack[1]" = "_reconcile" ]; then _reconcile "$@"; else compdef _reconcile reconcile; fi
"""

_FISH: Final = """# fish completion of reconcile
function __reconcile_complete
  set -l found (command reconcile completion fish (commandline -cp | string collect) 2>/dev/null)
  if test "$found[1]" = files
    set -l option (string match -r -- '^--[^=]*=' (commandline -ct))
    for path in (__fish_complete_path (string replace -- "$option" '' (commandline -ct)))
      printf '%s\\n' "$option$path"
    end
    return
  end
  printf '%s\\n' $found[2..-1]
end
complete -c reconcile -f -a '(__reconcile_complete)'
"""

SCRIPTS: Final[Mapping[str, str]] = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
"""Shell -> the script that it reads."""

_BREAKS: Final = frozenset("\"'@><=;|&(:")
"""Characters at which bash begins a new word in the line, whatever is quoted."""

_PLAIN: Final = frozenset("-_./%+,@:=")
"""Signs that bash takes as they are, besides letters and digits."""

_MOST: Final = 2_000
"""Candidates that a shell gets at most."""

_FILES: Final = ("files", ())
_NODES: Final = frozenset({"NODE"})
_CLUSTERS: Final = frozenset({"CLUSTER"})
_BOTH: Final = frozenset({"CLUSTER|NODE"})
_NAMED_BY: Final = frozenset({"only", "skip"})
"""Options whose NAME is a cluster, a node, or the kind of clusters."""


def complete_line(line: str, shell: str, context: typer.Context) -> str:
    """What a shell gets: `files` or `words`, and then a candidate on each line.

    Args:
        line: as typed, up to the cursor, with the name of the program.
        shell: bash, zsh or fish.
        context: of the command, with the environment of the process.
    """
    words, last = split_typed(line)
    before, typed = words[1:], last
    option, is_joined, value = last.partition("=")
    if is_joined and option.startswith("--"):  # `--only=edge` is completed as `--only edge`
        before, typed = [*before, option], value
    kind, candidates = _find_candidates(before, typed, context)
    if is_joined and option.startswith("--"):
        candidates = [f"{option}={one}" for one in candidates]
    fitting = sorted({one for one in candidates if one.startswith(last) and not UNSEEN.search(one)})
    if kind == "files" and not fitting:
        return "files\n"
    shown = fitting[:_MOST]
    if shell == "bash":
        shown = [_quote_for_bash(one, line, last) for one in shown]
    return "\n".join(["words", *shown]) + "\n"


def split_typed(line: str) -> tuple[list[str], str]:
    """The complete words before the cursor, and the beginning of the last one; both without quotes."""
    for closing in ("", '"', "'", "x"):  # the last word may be within quotes, or end in a backslash
        try:
            words = shlex.split(f"{line}{closing}")
        except ValueError:
            continue
        if not line or (line[-1].isspace() and not closing):
            return words, ""
        last = words.pop() if words else ""
        return words, last.removesuffix("x") if closing == "x" else last
    return [], ""


def _quote_for_bash(candidate: str, line: str, last: str) -> str:
    """A candidate in the form that replaces the part of the line that bash takes for the last word."""
    quote = next((mark for mark in ('"', "'") if line.count(mark) % 2), "")
    if quote:  # readline puts it between the quotes, where only these have a meaning
        return "".join(f"\\{sign}" if quote == '"' and sign in '"\\$`' else sign for sign in candidate)
    # Bash replaces only what follows the last of its word breaks: that much of the candidate is left out.
    kept = max((index + 1 for index, sign in enumerate(last) if sign in _BREAKS), default=0)
    return "".join(sign if sign.isalnum() or sign in _PLAIN else f"\\{sign}" for sign in candidate[kept:])


def _find_candidates(words: Sequence[str], last: str, context: typer.Context) -> tuple[str, Iterable[str]]:
    name = next((one for one in words if not one.startswith("-")), "")
    if not name:
        if last.startswith("-"):
            return "words", _list_options(_load(DEFAULT.module))
        if not words:
            return "files", COMMANDS if not last.startswith((".", "/", "~")) else ()
    is_command = name in COMMANDS
    command = _load(COMMANDS[name].module if is_command else DEFAULT.module)
    rest = list(words)
    if is_command:
        rest.remove(name)
    while subcommands := getattr(command, "commands", None):
        deeper = next((one for one in rest if one in subcommands), None)
        if deeper is None:
            if _find_waiting(command, rest) is not None:
                break
            return "words", [*subcommands, *_list_options(command)]
        rest = rest[rest.index(deeper) + 1 :]
        command = subcommands[deeper]
    return _complete_parameter(command, name if is_command else "", rest, last, context)


def _complete_parameter(
    command: Any, name: str, words: Sequence[str], last: str, context: typer.Context
) -> tuple[str, Iterable[str]]:
    """Candidates for the value of an option, an option, or an argument, in this order."""
    options = _map_options(command)
    waiting = _find_waiting(command, words)
    if waiting is not None:
        return _list_values(waiting, name, last, words, context)
    if last.startswith("-"):
        return "words", _list_options(command)
    given = 0
    for index, one in enumerate(words):
        before = options.get(words[index - 1]) if index else None
        given += not one.startswith("-") and (before is None or before.is_flag)
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    if given >= len(arguments) and not (arguments and arguments[-1].nargs == -1):
        return "words", ()
    return _list_values(arguments[min(given, len(arguments) - 1)], name, last, words, context)


def _map_options(command: Any) -> dict[str, Any]:
    return {form: one for one in command.params if one.param_type_name == "option" for form in one.opts}


def _find_waiting(command: Any, words: Sequence[str]) -> Any:
    """The option of a command whose value comes next; None if none waits for one."""
    found = _map_options(command).get(words[-1]) if words else None
    return found if found is not None and not found.is_flag else None


def _list_values(
    param: Any, name: str, last: str, words: Sequence[str], context: typer.Context
) -> tuple[str, Iterable[str]]:
    metavar = str(param.metavar or "").upper().rstrip("…")
    kind = param.type_descriptor.annotation
    for one in (kind, *get_args(kind)):
        if isinstance(one, type) and issubclass(one, Enum):
            return "words", [str(member.value) for member in one]
    if param.param_type_name == "argument" and (known := _list_known_words(name)):
        return "words", known
    if param.name in _NAMED_BY and last.startswith("kind:"):
        from reconciler.drivers.registry import BUILT_IN  # noqa: PLC0415

        return "words", [f"kind:{one}" for one in BUILT_IN]
    if metavar in _NODES | _CLUSTERS | _BOTH or param.name in _NAMED_BY:
        clusters, nodes = read_names(words, context)
        found = nodes if metavar in _NODES else clusters if metavar in _CLUSTERS else {*clusters, *nodes}
        return "words", found
    is_path = metavar in {"SOURCE", "FOLDER", "FILE", "DIR", "HOST_SOURCE"}
    return _FILES if is_path else ("words", ())


def _list_known_words(command: str) -> Sequence[str]:
    """The values of the argument of a command that knows them all."""
    match command:
        case "explain":
            from reconciler.cli.explanations import list_codes  # noqa: PLC0415

            return [*list_codes(), "host"]
        case "schemas":
            from reconciler.cli.schema_table import SCHEMAS  # noqa: PLC0415

            return list(SCHEMAS)
        case "help":
            return [*COMMANDS, "environment"]
        case "completion":
            return list(SCRIPTS)
        case _:
            return ()


def read_names(words: Sequence[str], context: typer.Context) -> tuple[set[str], set[str]]:
    """The clusters and the nodes of all fleets that the state of this line remembers.

    Args:
        words: of the line; `--state DIR` and `--host-config FILE` are used.
        context: of the command, with the environment of the process.
    """
    from reconciler.api.known_nodes import list_known_nodes  # noqa: PLC0415
    from reconciler.cli.host_loader import read_host  # noqa: PLC0415
    from reconciler.cli.state_folder import find_state  # noqa: PLC0415
    from reconciler.host import aio  # noqa: PLC0415
    from reconciler.host.database_url import is_database_url  # noqa: PLC0415
    from reconciler.store.factory import has_store, open_reader  # noqa: PLC0415

    given = dict(pairwise(words))
    folder = given.get("--state")
    host = read_host(context, Path(given["--host-config"]) if "--host-config" in given else None)
    if folder and not is_database_url(folder):
        folder = str(Path(folder).expanduser())
    found = find_state(host, folder or None)
    if found.refusal() is not None or not has_store(found.store):
        return set(), set()

    with open_reader(found.store) as store:
        known = aio.run_until_signal(list_known_nodes(store))
    return {one.cluster for one in known}, {one.node for one in known}


def _load(module: str) -> Any:
    import typer  # noqa: PLC0415

    return typer.main.get_command(import_module(module).app)


def _list_options(command: Any) -> list[str]:
    options = [one for one in command.params if one.param_type_name == "option" and not one.hidden]
    return [form for one in options for form in (*one.opts, *one.secondary_opts) if form.startswith("--")] + [
        "--help"
    ]
