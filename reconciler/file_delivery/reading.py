"""Readings of files: many at once, within a limit, where a failure is a reading and never an exception."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from reconciler.core.file_state import FilePlace
from reconciler.core.observation import FileReading, Liveness, Observed, Present, Unauthorized, Unreachable
from reconciler.core.plan import Step
from reconciler.errors import NodeError, NodeUnauthorized, NodeUnreachable
from reconciler.file_delivery.node_starts import read_starts
from reconciler.file_delivery.steps import read_file_arguments
from reconciler.host.defect_capture import capture_defects
from reconciler.ports.transport import Files, Transports

MOST_PARALLEL: Final = 64
"""Files that are read at the same time; the ways to machines bound their connections themselves."""


async def read_node_files(files: Files, places: Iterable[FilePlace]) -> dict[str, dict[str, FileReading]]:
    """Node -> entry -> the reading of that file, for `Observed.files`."""
    gate, wanted = asyncio.Semaphore(MOST_PARALLEL), tuple(dict.fromkeys(places))

    async def read(place: FilePlace) -> FileReading:
        async with gate:
            return await capture_defects(place.node, _read_file(files, place))

    found: dict[str, dict[str, FileReading]] = {}
    for place, reading in _refuse_shared(
        dict(zip(wanted, await asyncio.gather(*map(read, wanted)), strict=True))
    ):
        found.setdefault(place.node, {})[place.entry] = reading
    return found


def _refuse_shared(readings: Mapping[FilePlace, FileReading]) -> Iterator[tuple[FilePlace, FileReading]]:
    """The same readings, but for files that several nodes share: each would overwrite the others' content."""
    owners: dict[str, list[FilePlace]] = {}
    for place, reading in readings.items():
        if isinstance(reading, Present) and reading.value.identity:
            owners.setdefault(reading.value.identity, []).append(place)
    for place, reading in readings.items():
        shared = owners.get(reading.value.identity, []) if isinstance(reading, Present) else []
        other = next((one.node for one in shared if one.node != place.node), "")
        if other:
            remedy = (
                f"in the host configuration, give `files: {place.entry}` a path with `{{node}}`, or a way to "
                "each node's own machine with `ssh`"
            )
            words = f"the file {place.entry} is also that of {other}"
            yield place, Unreachable(words, Liveness.ALIVE, remedy=remedy)
        else:
            yield place, reading


async def read_step_file(step: Step, transports: Transports) -> Observed[Any]:
    """The file of a step, for `Driver.observe_step`; and the last start of the node, if that matters."""
    own = read_file_arguments(step)
    files: Mapping[str, Mapping[str, FileReading]] = await read_node_files(
        transports.files, (own.at(step.node),)
    )
    starts: Mapping[str, str] = {}
    if own.started_command:
        values = {step.node: own.started_values}
        starts = await read_starts(transports.commands, own.started_command, values)
    return Observed({}, files=files, starts=starts)


async def _read_file(files: Files, place: FilePlace) -> FileReading:
    try:
        return Present(await files.read(place))
    except NodeUnauthorized as error:
        return Unauthorized(error.reason, remedy=error.remedy)
    except NodeUnreachable as error:
        return Unreachable(error.reason, Liveness(error.sign), remedy=error.remedy)
    except NodeError as error:
        # The machine answered; that the file is of another kind shows nothing of its content.
        return Unreachable(error.reason, Liveness.ALIVE, remedy=error.remedy)
