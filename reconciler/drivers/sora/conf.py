"""sora.conf: the keys that the clustering documents describe, and what is checked about a node's values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from reconciler.core.fields import Whole
from reconciler.core.json_schema import Schema, SchemaTitle, make_schema
from reconciler.core.secret import Secret, reveal
from reconciler.diagnostic import Diagnostic
from reconciler.documents.document import Document, ParsedDocument, make_diagnostic
from reconciler.documents.key_values import KEY, Scalar, is_writable, parse_scalar
from reconciler.documents.model_errors import find_model_errors, translate_model_errors
from reconciler.drivers.sora.schema import ConfTarget, SoraCluster, SoraNode
from reconciler.ports.cluster_input import ClusterInput
from reconciler.text.json_pointer import make_pointer

Port = Annotated[Whole, Field(ge=1, le=65_535)]
NodeName = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9A-Za-z_\-]+@[0-9A-Za-z][0-9A-Za-z\-]*(\.[0-9A-Za-z\-]+)+$"),
]

_REQUIRED = ("node_name", "external_signaling_url", "external_api_url")
_CLUSTERED: dict[str, Any] = {
    "if": {"properties": {"cluster": {"const": True}}, "required": ["cluster"]},
    "then": {"properties": {key: {"type": "string"} for key in _REQUIRED}, "required": list(_REQUIRED)},
}
"""What a schema says of a clustered node, as `SoraConf` does."""

CONF: Final = SchemaTitle(
    "sora-conf",
    "sora.conf as JSON",
    "The keys of a sora.conf that the clustering documents describe; every other key passes through.",
    beyond=("cluster_listen_min_port is not above cluster_listen_max_port",),
)


class SoraConfKeys(BaseModel):
    """Some keys of a sora.conf; those that the clustering documents do not describe pass through."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    cluster: bool = Field(default=False, description="Use the cluster feature.")
    node_name: NodeName | None = Field(
        default=None,
        description="Unique in the cluster; after the @ comes a domain name or an IP address with a dot.",
        examples=["node01@node01.example.com"],
    )
    external_signaling_url: str | None = Field(
        default=None,
        pattern=r"^wss?://[^\s/?#]+(/\S*)?$",
        description="Where clients are redirected to.",
        examples=["wss://node1.example.com/signaling"],
    )
    external_api_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s/?#]+(/\S*)?$",
        description="Where API calls are redirected to.",
        examples=["https://node1.example.com/api"],
    )
    cluster_relay: bool = Field(default=True, description="Relay media between nodes.")
    default_cluster_affinity: bool = Field(default=True, description="Gather a session on one node.")
    cluster_affinity_threshold: Whole | None = Field(
        default=None, ge=1, description="Connections of a session on a node above which others are used."
    )
    cluster_temporary_node: bool = Field(default=False, description="Erased from the cluster when stopped.")
    cluster_listen_min_port: Port = Field(
        default=49_010, description="Lowest port of the node's own traffic."
    )
    cluster_listen_max_port: Port = Field(
        default=49_020, description="Highest port of the node's own traffic."
    )
    api_port: Port = Field(default=3000, description="Port of the HTTP API.")
    license_file: str | None = Field(default=None, description="Path of the licence file.")


class SoraConf(SoraConfKeys):
    """A whole sora.conf: a clustered node has the keys that it needs."""

    model_config = ConfigDict(title="sora.conf", json_schema_extra=_CLUSTERED)

    @model_validator(mode="after")
    def _require_keys(self) -> SoraConf:
        missing = [key for key in _REQUIRED if self.cluster and getattr(self, key) is None]
        if missing:
            raise ValueError(f"a clustered node needs {', '.join(missing)}")
        return self

    @model_validator(mode="after")
    def _check_ports(self) -> SoraConf:
        if self.cluster_listen_min_port > self.cluster_listen_max_port:
            raise ValueError("cluster_listen_min_port is above cluster_listen_max_port")
        return self


def make_conf_schema() -> Schema:
    """The schema of a sora.conf's keys."""
    return make_schema(SoraConf, CONF)


def find_conf_problems(cluster_input: ClusterInput) -> Iterator[Diagnostic]:
    """What is wrong in the committed sora.conf of each node, and what in it contradicts the fleet file."""
    entry = cluster_input.entry
    assert isinstance(entry, SoraCluster)
    if entry.conf is None:
        return
    checked: dict[int, bool] = {}
    told: set[tuple[str, str]] = set()
    for node in entry.nodes:
        document = cluster_input.documents.get(node.name)
        if document is None:  # reported where the file was read
            continue
        if id(document) not in checked:
            problems = [*_check_form(document)] or [
                *_check_values(document),
                *_check_ports(document, is_whole=entry.conf.own == "file"),
            ]
            checked[id(document)] = not problems
            # A value of the common file is wrong once, however many nodes have an overlay above it.
            places = [(str(one.position), one.message) for one in problems]
            yield from (one for one, place in zip(problems, places, strict=True) if place not in told)
            told |= {*places}
        if checked[id(document)]:
            yield from _check_agreement(document, node)
            if entry.conf.own == "file":
                yield from _find_missing_keys(document, node)
    yield from _find_shared_urls(cluster_input, entry)


def make_conf_targets(cluster_input: ClusterInput) -> dict[str, ConfTarget]:
    """Node -> its sora.conf, from files without problems; empty where the cluster has none."""
    entry = cluster_input.entry
    assert isinstance(entry, SoraCluster)
    if entry.conf is None:
        return {}
    found = {}
    for node in entry.nodes:
        document = cluster_input.documents.get(node.name)
        if document is None:  # reported where the file was read
            continue
        derived = _derive_values(node, document.value)
        base = _find_text(document) if entry.conf.own == "file" else None
        found[node.name] = ConfTarget({**derived, **document.value}, base, frozenset(derived))
    return found


def _derive_values(node: SoraNode, given: Mapping[str, Any]) -> dict[str, Scalar]:
    """The keys that the fleet file decides, so that nobody has to write them twice."""
    derived: dict[str, Scalar] = {"cluster": True, "node_name": node.name}
    if node.temporary:
        derived["cluster_temporary_node"] = True
    return {key: value for key, value in derived.items() if key not in given}


def _find_text(document: Document) -> str:
    """The text of the committed file, below all overlays."""
    origin = getattr(document, "origin", None)
    base = origin.document if origin is not None else document
    assert isinstance(base, ParsedDocument)
    return base.text


def _check_form(document: Document) -> Iterator[Diagnostic]:
    """Overlays can make of the flat file what no sora.conf can have."""
    if not isinstance(document.value, Mapping):
        yield make_diagnostic(
            document, "", "wrong-type", "the settings of a node must be `key = value` lines"
        )
        return
    for key, value in document.value.items():
        pointer = make_pointer((key,))
        if not KEY.fullmatch(key):
            words = f"the key {key!r} cannot be written to a sora.conf"
            yield make_diagnostic(
                document, pointer, "bad-value", words, "use letters, digits, `_`, `.` and `-`"
            )
        elif not is_writable(reveal(value)):
            words = f"the value of {key} cannot be written to a sora.conf"
            remedy = "use one line of text without spaces at its ends, a whole number, `true` or `false`"
            yield make_diagnostic(document, pointer, "bad-value", words, remedy)


def _check_values(document: Document) -> Iterator[Diagnostic]:
    # A secret that is not known here has no value to check.
    values = {
        key: parse_scalar(str(value.value)) if isinstance(value, Secret) else value
        for key, value in document.value.items()
        if not (isinstance(value, Secret) and value.missing)
    }
    try:
        SoraConfKeys.model_validate(values)
    except ValidationError as error:
        hidden = {key for key, value in document.value.items() if isinstance(value, Secret)}
        found = find_model_errors(error, SoraConfKeys, values)
        yield from translate_model_errors(found, document, "", is_secret=hidden.__contains__)


def _check_ports(document: Document, *, is_whole: bool) -> Iterator[Diagnostic]:
    """The range of ports; where only keys are ours, the other end of it may be in the node's own file."""
    keys = ("cluster_listen_min_port", "cluster_listen_max_port")
    given = {key: value for key in keys if type(value := reveal(document.value.get(key))) is int}
    defaults = {key: SoraConfKeys.model_fields[key].default for key in keys} if is_whole else {}
    low, high = (
        (given | {key: defaults[key] for key in defaults if key not in given}).get(key) for key in keys
    )
    if given and low is not None and high is not None and low > high:
        key = next(iter(given))
        yield make_diagnostic(
            document,
            make_pointer((key,)),
            "bad-value",
            f"cluster_listen_min_port is above cluster_listen_max_port ({low} and {high})",
            "correct one of them",
        )


def _check_agreement(document: Document, node: SoraNode) -> Iterator[Diagnostic]:
    """Keys that contradict the fleet file: the node would be another one than the plan assumes."""
    for key, wanted, where in (
        ("cluster", True, "the nodes of a cluster need it"),
        ("node_name", node.name, "its `name` in the fleet file"),
        ("cluster_temporary_node", node.temporary, "`temporary` in the fleet file"),
    ):
        if key in document.value and reveal(document.value[key]) != wanted:
            shown = str(wanted).lower() if isinstance(wanted, bool) else wanted
            yield make_diagnostic(
                document,
                make_pointer((key,)),
                "conf-contradicts",
                f"the sora.conf of {node.name} has another {key} than {shown} ({where})",
                f"remove {key} from the file: it follows from the fleet file",
            )


def _find_missing_keys(document: Document, node: SoraNode) -> Iterator[Diagnostic]:
    missing = [key for key in _REQUIRED if key not in {*document.value, *_derive_values(node, {})}]
    if missing:
        message = f"the sora.conf of {node.name} is kept as a whole, but lacks {', '.join(missing)}"
        yield make_diagnostic(document, "", "missing-key", message, "add it in an overlay of the node")


def _find_shared_urls(cluster_input: ClusterInput, entry: SoraCluster) -> Iterator[Diagnostic]:
    """External URLs that several nodes have: clients would be redirected to the wrong node."""
    for key in ("external_signaling_url", "external_api_url"):
        given = {
            node.name: str(document.value[key])
            for node in entry.nodes
            if (document := cluster_input.documents.get(node.name)) is not None
            and isinstance(document.value, Mapping)
            and key in document.value
        }
        counts = Counter(given.values())
        for name, url in given.items():
            if counts[url] > 1:
                yield make_diagnostic(
                    cluster_input.documents[name],
                    make_pointer((key,)),
                    "conf-shared-url",
                    f"{counts[url]} nodes have the same {key}, among them {name}",
                    "give each node its own URL in an overlay of the node: clients are redirected to it",
                )
                break
