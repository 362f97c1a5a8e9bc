"""The sora.conf of live nodes as committed files: of a new cluster, and after changes by hand; pure.

Whatever is read here comes from machines that nobody has vouched for yet. A file that is not that of its
node, or that could not be written back as it is, is not imported, and the reason is told without its values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final

from pydantic import ValidationError

from reconciler.core.observation import FileReading, Observed, Present, describe_unread
from reconciler.documents.key_values import Scalar, is_writable, parse_key_values
from reconciler.documents.model_errors import find_model_errors
from reconciler.drivers.sora.schema import NodeView, SoraDesired, SoraNode
from reconciler.errors import InputError

_NAME: Final = "sora.conf"

_DERIVED: Final = ("cluster", "node_name", "cluster_temporary_node")
"""Keys that follow from the fleet file."""

OWN_URLS: Final = frozenset({"external_signaling_url", "external_api_url"})
"""Keys by which a node is reached, which no two nodes share."""


@dataclass(frozen=True, slots=True)
class LiveConfs:
    """The sora.conf of the nodes, as an import takes them over.

    Args:
        documents: node -> key -> value; empty if they are not taken over.
        entry: what the cluster's entry gets for that.
        words: what is left for a person to do, one sentence.
    """

    documents: Mapping[str, Mapping[str, Scalar]] = field(default_factory=dict, repr=False)
    entry: Mapping[str, Any] = field(default_factory=dict)
    words: str = ""


def is_conf_path(path: str) -> bool:
    """Whether the path of a host's file entry is that of a sora.conf."""
    return PurePosixPath(path).name == _NAME


def read_confs(desired: SoraDesired, observed: Observed[NodeView]) -> LiveConfs:
    """The files of a new cluster; of one that has them already, the present values of the committed keys."""
    if desired.entry.conf is not None:
        return LiveConfs(dict(_read_present_values(desired, observed)))
    entries = {name for readings in observed.files.values() for name in readings}
    if len(entries) != 1:
        return LiveConfs(
            words="sora.conf is not managed: name the file of the nodes, once, under `files` of the host "
            f"configuration, with a path that ends with {_NAME}, and import again (docs/sora.md)"
        )
    (entry,) = entries
    documents: dict[str, dict[str, Scalar]] = {}
    for node in desired.entry.nodes:
        values = _parse(observed.files.get(node.name, {}).get(entry))
        why = values if isinstance(values, str) else next(_find_problems(node, values), "")
        if why or isinstance(values, str):
            return LiveConfs(
                words=f"sora.conf is not managed: the file {entry} of {node.name} {why}; correct that and "
                f"import again, or add `conf: {{source: {_NAME}, file: {entry}}}` with a file of your own"
            )
        documents[node.name] = {key: value for key, value in values.items() if key not in _DERIVED}
    for key in sorted(OWN_URLS):
        urls = [values[key] for values in documents.values() if key in values]
        if len({*urls}) < len(urls):
            words = f"sora.conf is not managed: several nodes have the same {key} in the file {entry}"
            return LiveConfs(words=words)
    source = f"{desired.entry.name}/{_NAME}"
    return LiveConfs(
        documents,
        {"conf": {"source": source, "file": entry}},
        f"the keys of the nodes' sora.conf are in {source} and its overlays; name `restart`, so that runs "
        "bring changes in (docs/sora.md)",
    )


def _read_present_values(
    desired: SoraDesired, observed: Observed[NodeView]
) -> Iterator[tuple[str, Mapping[str, Scalar]]]:
    conf = desired.entry.conf
    # A whole file has comments and an order, which values alone do not show.
    if conf is None or conf.own == "file":
        return
    for node, target in desired.confs.items():
        values = _parse(observed.files.get(node, {}).get(conf.file))
        if not isinstance(values, str):
            committed = target.values.keys() - target.derived
            yield node, {key: value for key, value in values.items() if key in committed}


def _parse(reading: FileReading | None) -> dict[str, Scalar] | str:
    """The values of a file, or why they are not known."""
    if not isinstance(reading, Present):
        return f"cannot be read ({describe_unread(reading)})" if reading is not None else "was not read"
    if reading.value.content is None:
        return "does not exist"
    try:
        return dict(parse_key_values("", reading.value.content.decode())[0])
    except UnicodeDecodeError:
        return "is not UTF-8 text"
    except InputError as error:
        problem = error.problems[0]
        return f"cannot be read at line {problem.position.line}: {problem.message}"


def _find_problems(node: SoraNode, values: Mapping[str, Scalar]) -> Iterator[str]:
    """Why a file cannot be that of the node, or cannot be committed as it is."""
    from reconciler.drivers.sora.conf import SoraConfKeys  # noqa: PLC0415  (few runs need it)

    for key, wanted in (
        ("node_name", node.name),
        ("cluster", True),
        ("cluster_temporary_node", node.temporary),
    ):
        if values.get(key, False) != wanted:
            yield f"has another {key} than the node"
    for key, value in values.items():
        if not is_writable(value):
            yield f"has a value of {key} that cannot be written to a sora.conf"
    try:
        SoraConfKeys.model_validate(dict(values))
    except ValidationError as error:
        found = find_model_errors(error, SoraConfKeys, dict(values))
        keys = sorted({str(one.path[0]) for one in found if one.path})
        yield f"has a value that Sora's documents do not describe ({', '.join(keys)})"
