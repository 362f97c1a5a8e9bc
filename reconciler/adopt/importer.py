"""From what live nodes show to the files that say so: read, written down in memory, and proved by a plan."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pydantic import ValidationError

from reconciler.adopt.file_edits import Member, Rewriting, path_of
from reconciler.adopt.foreseen import Foreseen, Overlaid
from reconciler.adopt.needed_edits import Differing
from reconciler.adopt.new_cluster import fleet_text, founded
from reconciler.adopt.node_list_edits import entries
from reconciler.core import editors
from reconciler.core.observation import Observed
from reconciler.core.plan import Revision, Step
from reconciler.core.secret import secrets
from reconciler.desired.fleet import Fleet, load
from reconciler.documents.edit import Edit
from reconciler.documents.editor import edited
from reconciler.errors import InputError, StateError, UsageError
from reconciler.host.config import PREFIX
from reconciler.host.together import together
from reconciler.planning.masking import masking
from reconciler.planning.plan_pass import Drivers
from reconciler.planning.reading import only_reading
from reconciler.ports.desk import Desk
from reconciler.ports.driver import Driver, Shown
from reconciler.ports.source import Files, Snapshot
from reconciler.ports.transport import Transports
from reconciler.secrets.extract import Concealer
from reconciler.secrets.resolver import Vault

FLEET = "fleet.yaml"
"""The fleet file that is written where there is none."""

_NOWHERE = Revision("import", "0" * 40, "import")


@dataclass(frozen=True, slots=True)
class Adoption:
    """What is to be written so that the desired state says what the nodes show.

    Args:
        before: file -> its bytes now; files that are new are not in it.
        after: file -> its text.
        secrets: environment variable -> the secret that a reference in a new text stands for.
        notes: what a person should know, one sentence each.
    """

    before: Mapping[str, bytes]
    after: Mapping[str, str]
    secrets: Mapping[str, str] = field(repr=False)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Live:
    """One cluster as its nodes show it."""

    desk: Desk
    desired: Any
    observed: Observed[Any]
    shown: Shown
    steps: tuple[Step, ...]
    new: bool
    unsaid: frozenset[str]
    meaning: Callable[[Any], str]


async def adopt(
    snapshot: Snapshot | None,
    new: Sequence[Mapping[str, Any]],
    *,
    drivers: Drivers,
    transports: Transports,
    vault: Vault,
    only: str = "",
    prefix: str = PREFIX,
) -> Adoption:
    """Read the nodes, and work out the files.

    Args:
        snapshot: the files that are there; none where nothing is.
        new: entries of clusters that no file names yet, from `Driver.entry_of`.
        drivers: kind -> product.
        transports: the ways to the nodes; nothing is changed there.
        vault: gives the secrets that the files refer to already.
        only: the one cluster to look at; empty for all.
        prefix: how the names of the variables begin that secrets are written as.

    Raises:
        InputError: the files that are there are wrong.
        UsageError: nothing is to be read, or a cluster's nodes do not tell all that is needed.
        StateError: what would be written does not say what the nodes show; nothing may be written.
    """
    files = Overlaid(snapshot.files if snapshot else None, {})
    fleet = load(Snapshot(_NOWHERE, files), drivers, vault) if snapshot else None
    first = _begun(files, fleet, new, drivers)
    fleet = load(Snapshot(_NOWHERE, first), drivers, vault)
    transports = masking(transports, fleet.secrets)
    names = {entry["name"] for entry in new}
    desks = [desk for desk in fleet.desks if only in {"", desk.entry.name}]
    if not desks:
        known = ", ".join(desk.entry.name for desk in fleet.desks)
        raise UsageError(f"no cluster is named {only!r}", remedy=f"the clusters are {known}")
    live = await together([_seen(desk, drivers, transports, new=desk.entry.name in names) for desk in desks])
    _complete(live)
    trouble: InputError | UsageError | StateError | None = None
    for shared in (True, False):
        concealer = Concealer(dict(_references(live)), prefix)
        try:
            after = _written(first, fleet, live, concealer, shared=shared)
            rest = _rest(after, live, drivers, Foreseen(vault, concealer.named))
        except (InputError, UsageError) as error:
            trouble = trouble or error
            continue
        if not rest:
            return _adoption(files, after, concealer, live)
        trouble = trouble or StateError(
            f"what would be written is not what {rest[0]} shows",
            remedy="nothing was written; change it by hand",
        )
    assert trouble is not None
    raise trouble


async def _seen(desk: Desk, drivers: Drivers, transports: Transports, *, new: bool) -> _Live:
    driver = drivers[desk.entry.kind]
    if not driver.capabilities.imports:
        raise UsageError(f"clusters of the kind {desk.entry.kind} cannot be imported")
    desired = driver.desire(desk)
    observed = await driver.observe(desired, only_reading(transports, driver.reads))
    steps = driver.plan(desired, observed).steps
    shown, unsaid = driver.shown(desired, observed), driver.unsaid(desk.entry)
    return _Live(desk, desired, observed, shown, steps, new, unsaid, driver.meaning)


def _complete(live: Sequence[_Live]) -> None:
    """Refuse what is not known in full.

    Raises:
        UsageError: with what is missing in each cluster.
    """
    missing = [(one.desk.entry.name, words) for one in live for words in one.shown.missing]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise UsageError(
            f"{missing[0][0]} cannot be imported, for {missing[0][1]}{more}",
            remedy="mend that, or name another cluster with --only; nothing was written",
        )


def _begun(
    files: Overlaid, fleet: Fleet | None, new: Sequence[Mapping[str, Any]], drivers: Drivers
) -> Overlaid:
    """The files with new clusters in the fleet file, whose settings are empty as yet."""
    if not new:
        return files
    taken = {desk.entry.name for desk in fleet.desks} if fleet else set()
    again = next((entry["name"] for entry in new if entry["name"] in taken), None)
    if again:
        words = f"{again} is a cluster of this fleet already"
        raise UsageError(words, remedy="leave it out, or choose a name")
    if fleet is not None and not all(desk.pointer for desk in fleet.desks):
        words = f"{fleet.document.name} stands alone, without a fleet file"
        raise UsageError(words, remedy="import into a folder of its own")
    settings = {path for entry in new for path in _settings(entry, drivers[entry["kind"]])}
    begun = dict.fromkeys(sorted(settings), "{}\n")
    if fleet is None:
        return files.over({FLEET: fleet_text(new), **begun})
    return files.over({fleet.document.name: _named(files, fleet, new), **begun})


def _settings(entry: Mapping[str, Any], driver: Driver[Any, Any]) -> set[str]:
    """The settings files that a new cluster names; none where its entry is wrong, which loading tells."""
    try:
        model = driver.entry.model_validate(entry)
    except ValidationError:
        return set()
    return {model.setting_of(node) for node in model.members()} - {""}


def _named(files: Files, fleet: Fleet, new: Sequence[Mapping[str, Any]]) -> str:
    """The fleet file with clusters at its end."""
    name = fleet.document.name
    edits = [Edit(("clusters", len(fleet.desks) + number), dict(entry)) for number, entry in enumerate(new)]
    return edited(name, files.read(name).decode(), edits)


def _written(
    files: Overlaid, fleet: Fleet, live: Sequence[_Live], concealer: Concealer, *, shared: bool
) -> Overlaid:
    """All files as they are to be."""
    rewriting = Rewriting(fleet, files, concealer)
    for one in live:
        if one.new and one.shown.documents:
            found = founded(one.desk.entry, one.desk.pointer, one.shown.documents, concealer)
            _unoccupied(files, found.made)
            rewriting.made |= found.made
            rewriting.edits.setdefault(fleet.document.name, []).extend(found.edits)
        elif one.shown.nodes is not None:
            raw = fleet.document.value["clusters"][_index(one.desk)]["nodes"]
            edits = entries(raw, one.shown.nodes, one.desk.pointer, one.shown.followed)
            rewriting.edits.setdefault(fleet.document.name, []).extend(edits)
    rewriting.settle(dict(_wanted(live)), shared=shared)
    texts = {
        name: json.dumps(value, indent=2, ensure_ascii=False) + "\n" for name, value in rewriting.made.items()
    }
    for name, edits in rewriting.edits.items():
        if edits:
            texts[name] = edited(name, files.read(name).decode(), edits)
    return files.over(texts)


def _unoccupied(files: Overlaid, made: Mapping[str, Any]) -> None:
    """Refuse to write new files over old ones."""
    taken = sorted(set(made) & set(files.below.names() if files.below else ()))
    if taken:
        raise UsageError(f"{taken[0]} is there already", remedy="choose another name, or move it away")


def _references(live: Sequence[_Live]) -> Iterator[tuple[str, str]]:
    """(text, reference) of the secrets that the files name and that are known here."""
    for one in live:
        for document in {id(each): each for each in one.desk.documents.values()}.values():
            for _, secret in secrets(document.value):
                if not secret.missing and isinstance(secret.value, str) and secret.value:
                    yield secret.value, secret.reference


def _index(desk: Desk) -> int:
    return int(desk.pointer.rpartition("/")[2])


def _wanted(live: Sequence[_Live]) -> Iterator[tuple[Member, tuple[Edit, ...]]]:
    """What is to be changed in the rendered settings of each node that differs."""
    for one in live:
        if one.new:
            continue
        changed = {step.node for step in one.steps}
        known: dict[tuple[int, int], tuple[Edit, ...]] = {}  # nodes that share both differ alike
        for node, document in one.shown.documents.items():
            if node in changed:
                rendered = one.desk.documents[node].value
                pair = (id(rendered), id(document))
                if pair not in known:
                    differing = Differing(rendered, one.meaning, partial(_unsaid, unsaid=one.unsaid))
                    known[pair] = _drift(node, differing, document)
                yield (one.desk.entry.name, node), known[pair]


def _drift(node: str, differing: Differing, shown: Any) -> tuple[Edit, ...]:
    try:
        return differing.edits(shown)
    except UsageError as error:
        raise UsageError(f"{node}: {error.message}", remedy=error.remedy) from error


def _unsaid(edit: Edit, unsaid: Collection[str]) -> bool:
    """Whether a difference is none of the file's: what it says to editors, and what is stamped."""
    return edit.path == (editors.KEY,) or edit.path in {path_of(pointer) for pointer in unsaid}


def _rest(files: Overlaid, live: Sequence[_Live], drivers: Drivers, vault: Vault) -> list[str]:
    """The nodes that a plan from the files as they would be still changes; none where all is said.

    Raises:
        InputError: the files would be wrong.
    """
    fleet = load(Snapshot(_NOWHERE, files), drivers, vault)
    found: list[str] = []
    for one in live:
        desk = next(desk for desk in fleet.desks if desk.entry.name == one.desk.entry.name)
        driver = drivers[desk.entry.kind]
        plan = driver.plan(driver.desire(desk), one.observed)
        found += [step.node for step in plan.steps if not _stamps(step, one.unsaid)]
    return found


def _stamps(step: Step, unsaid: Collection[str]) -> bool:
    """Whether a step changes nothing but what is stamped."""
    return bool(step.changes) and all(change.pointer in unsaid for change in step.changes)


def _adoption(files: Overlaid, after: Overlaid, concealer: Concealer, live: Sequence[_Live]) -> Adoption:
    known = set(files.names())
    before = {name: files.read(name) for name in after.texts if name in known}
    texts = {name: text for name, text in after.texts.items() if before.get(name) != text.encode()}
    notes = [words for one in live if one.new for words in one.shown.left_open]
    return Adoption(before, texts, dict(concealer.named), tuple(notes))
