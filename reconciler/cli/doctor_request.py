"""What `reconcile doctor` examines, found out as far as possible: what is wrong here is a finding, too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from reconciler.cli.options import CommonOptions, SignerOptions, SourceOptions
from reconciler.cli.state_folder import StateFolder, find_state, find_watches
from reconciler.doctor.examination import DoctorRequest
from reconciler.doctor.findings import DoctorFinding, Topic, list_error_findings, report_ok
from reconciler.drivers.registry import DRIVERS, select_drivers
from reconciler.errors import ReconcilerError
from reconciler.host.config import make_default_config
from reconciler.host.host import Host
from reconciler.planning.inventory_source import add_inventory
from reconciler.ports.source import Source
from reconciler.sources.git.discovery import find_work_tree
from reconciler.sources.locate import locate_source, make_source_absolute
from reconciler.sources.source_address import SourceAddress, parse_source_address

_T = TypeVar("_T")


def make_request(
    source: str,
    source_options: SourceOptions,
    state: str | None,
    signer_options: SignerOptions,
    common: CommonOptions,
    *,
    seconds: float,
) -> DoctorRequest:
    """The request of the command; what cannot be found out becomes a finding of it."""
    earlier: list[DoctorFinding] = []
    host = _try(Topic.CONFIGURATION, lambda: common.read_host(source), earlier)
    is_configured = host is not None
    host = host or Host(make_default_config(), common.read_environment())
    folder = _try(Topic.STORE, lambda: find_state(host, state), earlier)
    if folder is not None:
        earlier += _list_state_findings(folder)
    address = _find_address(source)
    url = address.url if address is not None and address.scheme in {"http", "https"} else ""

    def make_source(cache: Path) -> Source:
        found = locate_source(
            source,
            ref=source_options.ref,
            path=source_options.path,
            sha256=source_options.sha256,
            cache=cache,
            trust=signer_options.read_trust(host),
            environment=host.environment,
            accounts=host.config.aws,
        )
        drivers = select_drivers(host.config, DRIVERS)
        return add_inventory(found, host, drivers, state=folder.path if folder else None)

    return DoctorRequest(
        host,
        folder.path if folder else Path.cwd(),
        folder.store if folder else None,
        url,
        _read_host_name(address),
        _is_repository(source, source_options.ref, address),
        make_source,
        lambda: signer_options.read_trust(host),
        seconds,
        tuple(earlier),
        is_configured,
    )


def _try(topic: Topic, read: Callable[[], _T], findings: list[DoctorFinding]) -> _T | None:
    try:
        return read()
    except ReconcilerError as error:
        findings += list_error_findings(topic, error)
        return None


def _list_state_findings(folder: StateFolder) -> tuple[DoctorFinding, ...]:
    if (refused := folder.refusal()) is not None:
        return list_error_findings(Topic.STORE, refused)
    watches = find_watches(folder)
    return tuple(report_ok(Topic.STORE, f"a watch uses it: {one}", folder.place) for one in watches)


def _find_address(source: str) -> SourceAddress | None:
    """The address of a source elsewhere; None for a local one, and for text that is no address."""
    is_local = make_source_absolute(source).startswith("/")
    try:
        return None if is_local or source.startswith("s3://") else parse_source_address(source)
    except ReconcilerError:
        return None


def _read_host_name(address: SourceAddress | None) -> str:
    return (urlsplit(f"//{address.host}").hostname or "") if address is not None else ""


def _is_repository(source: str, ref: str, address: SourceAddress | None) -> bool:
    """Whether git is needed to read the source, as far as its address shows that."""
    if address is not None:
        return address.scheme not in {"http", "https"} or address.url.endswith(".git") or bool(ref)
    try:
        place = Path(source).expanduser().resolve()
        return bool(ref) or place.name.endswith(".git") or find_work_tree(place) is not None
    except (ReconcilerError, OSError, RuntimeError):
        return True
