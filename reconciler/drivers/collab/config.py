"""config.json: its documented keys, and what is checked about the values of a cluster's servers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reconciler.core.fields import Whole
from reconciler.core.json_schema import Schema, SchemaTitle, make_schema
from reconciler.core.secret import Secret, find_secrets, reveal
from reconciler.diagnostic import Diagnostic
from reconciler.documents.document import Document, make_diagnostic
from reconciler.documents.model_errors import find_model_errors, translate_model_errors
from reconciler.drivers.collab.schema import SERVER_PORT, CollabCluster, CollabServer, parse_redis_url
from reconciler.ports.cluster_input import ClusterInput
from reconciler.text.json_pointer import make_pointer

ENCODING_REMEDY: Final = (
    "choose a password of letters, digits and - . _ ~ alone, which is the same in a URL and in a redis.conf, "
    "or give the URL a secret of its own with the password in percent-encoding"
)

HORIZONTAL: Final = "horizontal"
"""`scaling` of servers that work together; only then `redisServerUrl` is read."""

WINDOWS_PATH: Final = re.compile(r"[A-Za-z]:[\\/]|\\\\")

CONFIG: Final = SchemaTitle(
    "collab-config",
    "config.json of a Collaboration Server",
    "The documented keys of a config.json, whose names are case-sensitive; other keys pass through. What "
    "has to agree with the fleet file is checked there.",
)

_Path = Annotated[str, Field(min_length=1, max_length=4096)]


class DataSource(BaseModel):
    """How a server reaches PostgreSQL."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    host: str | None = Field(default=None, min_length=1, description="The machine of PostgreSQL.")
    port: Whole = Field(default=5432, ge=1, le=65_535, description="The port of PostgreSQL.")
    username: str | None = Field(default=None, description="The user.", examples=["mstr_collab"])
    password: str | None = Field(default=None, description="Its password; write a reference to a secret.")
    encryptionKeyFile: _Path | None = Field(  # noqa: N815  (names of the product)
        default=None, description="File with the key of an encrypted password."
    )
    sslRootCertFile: _Path | None = Field(  # noqa: N815
        default=None, description="Certificates that PostgreSQL's certificate is checked with."
    )
    sslClientCertFile: _Path | None = Field(  # noqa: N815
        default=None, description="The server's own certificate for PostgreSQL."
    )
    sslClientKeyFile: _Path | None = Field(default=None, description="Its key.")  # noqa: N815


class CollabConfig(BaseModel):
    """Keys of a config.json; those that the documents do not describe pass through."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, title="config.json")

    port: Whole = Field(default=SERVER_PORT, ge=1, le=65_535, description="Where the server listens.")
    dataSource: DataSource | None = Field(  # noqa: N815
        default=None, description="How the server reaches PostgreSQL."
    )
    logging: bool | None = Field(default=None, description="Whether the server writes a log.")
    authorizationServerUrl: str | None = Field(  # noqa: N815
        default=None,
        pattern=r"^https?://[^\s?#]+$",
        description="URL of the load balancer, followed by `/api`.",
        examples=["https://collab.example.com/api"],
    )
    notificationBaseUrl: str | None = Field(  # noqa: N815
        default=None, description="Beginning of the URLs in notifications."
    )
    scaling: Literal["horizontal", "vertical", "none"] | None = Field(
        default=None, description="`horizontal`: the server works together with others, through Redis."
    )
    redisServerUrl: str | None = Field(  # noqa: N815
        default=None,
        pattern=r"^rediss?://[^\s]+$",
        description="Redis, as `redis://HOST:PORT` or `redis://:PASSWORD@HOST:PORT`; only read where "
        "`scaling` is `horizontal`.",
        examples=["redis://192.0.2.20:6379"],
    )
    enableTls: bool | None = Field(default=None, description="Whether the server speaks TLS.")  # noqa: N815
    privateKeyFile: _Path | None = Field(default=None, description="Key for TLS.")  # noqa: N815
    publicCertFile: _Path | None = Field(default=None, description="Certificate for TLS.")  # noqa: N815
    keystoreFile: _Path | None = Field(  # noqa: N815
        default=None, description="Key and certificate in one file; takes precedence over the other pair."
    )
    passphrase: str | None = Field(default=None, description="Of `keystoreFile`.")
    trustedCerts: list[str] | None = Field(  # noqa: N815
        default=None, description="Files with certificates that the server trusts."
    )
    cpus: Whole | None = Field(default=None, ge=1, description="Processes for `vertical` scaling.")


def make_config_schema() -> Schema:
    """The schema of a config.json."""
    return make_schema(CollabConfig, CONFIG)


def find_config_problems(cluster_input: ClusterInput) -> Iterator[Diagnostic]:
    """What is wrong in the committed config.json of each server, and what contradicts the fleet file."""
    entry = cluster_input.entry
    assert isinstance(entry, CollabCluster)
    if entry.config is None:
        return
    checked: dict[int, bool] = {}
    sound: dict[str, Document] = {}
    for server in entry.nodes:
        document = cluster_input.documents.get(server.name)
        if document is None:  # reported where the file was read
            continue
        if id(document) not in checked:
            problems = list(_check_form(document))
            checked[id(document)] = not problems
            yield from problems
        if checked[id(document)]:
            sound[server.name] = document
            yield from _check_port(document, server)
    yield from _check_scaling(entry, sound)
    yield from _check_redis(entry, sound)
    yield from _check_authorization(entry, sound)
    yield from _check_equal_tls(entry, sound)


def get_text(value: Any) -> str | None:
    """A text of a config.json; None if there is none, or a secret in it is not known here."""
    if isinstance(value, Secret) and value.missing:
        return None
    found = reveal(value)
    return found if isinstance(found, str) else None


def get_shown_text(value: Any) -> str:
    """A text as it may be compared where its secrets are not known: references stand in their places."""
    return str(reveal(value)) if value is not None else ""


def _check_form(document: Document) -> Iterator[Diagnostic]:
    if not isinstance(document.value, Mapping):
        yield make_diagnostic(document, "", "wrong-type", "a config.json must be one object")
        return
    yield from _check_case(document, document.value, CollabConfig, ())
    source = document.value.get("dataSource")
    if isinstance(source, Mapping):
        yield from _check_case(document, source, DataSource, ("dataSource",))
    hidden = {key for path, _ in find_secrets(document.value) for key in path}
    values = _drop_unknown_secrets(document.value)
    try:
        CollabConfig.model_validate(values)
    except ValidationError as error:
        found = find_model_errors(error, CollabConfig, values)
        yield from translate_model_errors(found, document, "", is_secret=lambda key: key in hidden)
    yield from _check_tls(document)
    yield from _check_windows(document)


def _drop_unknown_secrets(value: Mapping[str, Any]) -> dict[str, Any]:
    """Without the secrets that have no value here, and so cannot be checked."""
    return {
        key: _drop_unknown_secrets(own) if isinstance(own, Mapping) else reveal(own)
        for key, own in value.items()
        if not (isinstance(own, Secret) and own.missing)
    }


def _check_case(
    document: Document, value: Mapping[str, Any], model: type[BaseModel], path: tuple[str, ...]
) -> Iterator[Diagnostic]:
    """Keys that differ from a documented one in case alone: the server would not see them."""
    known = {name.casefold(): name for name in model.model_fields}
    for key in value:
        meant = known.get(key.casefold())
        if meant is not None and meant != key:
            yield make_diagnostic(
                document,
                make_pointer((*path, key)),
                "config-key-case",
                f"the key `{key}` is not known: names in a config.json are case-sensitive",
                f"write `{meant}`",
            )


def _check_tls(document: Document) -> Iterator[Diagnostic]:
    value = document.value
    if reveal(value.get("enableTls")) is not True:
        return
    pairs = (("privateKeyFile", "publicCertFile"), ("keystoreFile", "passphrase"))
    if not any(all(key in value for key in pair) for pair in pairs):
        yield make_diagnostic(
            document,
            "/enableTls",
            "config-tls-files",
            "`enableTls` needs a key and a certificate",
            "add `privateKeyFile` and `publicCertFile`, or `keystoreFile` and `passphrase`",
        )


def _check_windows(document: Document) -> Iterator[Diagnostic]:
    for pointer, text in _walk(document.value, ()):
        if WINDOWS_PATH.match(text):
            yield make_diagnostic(
                document,
                pointer,
                "windows-host",
                "this is a path of Windows, and servers on Windows are not managed: their files and commands "
                "are reached over SSH with POSIX tools only",
                "run the servers on Linux, or leave this cluster out of the fleet file",
            )


def _walk(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield make_pointer(path), value
    elif isinstance(value, Mapping):
        for key, own in value.items():
            yield from _walk(own, (*path, key))
    elif isinstance(value, list):
        for index, own in enumerate(value):
            yield from _walk(own, (*path, index))


def _check_port(document: Document, server: CollabServer) -> Iterator[Diagnostic]:
    port = document.value.get("port", SERVER_PORT)
    if port != server.port:
        given = f"{port}" if "port" in document.value else f"{port}, the default,"
        yield make_diagnostic(
            document,
            "/port",
            "config-port",
            f"the config.json of {server.name} has the port {given} but the fleet file has {server.port}",
            "write the same port in both: the load balancer uses that of the fleet file",
        )


def _check_scaling(entry: CollabCluster, sound: Mapping[str, Document]) -> Iterator[Diagnostic]:
    if len(entry.nodes) == 1:
        return
    for name, document in _each_document(sound):
        if reveal(document.value.get("scaling")) != HORIZONTAL:
            yield make_diagnostic(
                document,
                "/scaling",
                "scaling-not-horizontal",
                f"{entry.name} has {len(entry.nodes)} servers, but {name} lacks `scaling: horizontal`, "
                "so it does not work together with the others",
                'write "scaling": "horizontal"',
            )


def _check_redis(entry: CollabCluster, sound: Mapping[str, Document]) -> Iterator[Diagnostic]:
    first = ""
    for name, document in _each_document(sound):
        if reveal(document.value.get("scaling")) != HORIZONTAL:
            continue
        value = document.value.get("redisServerUrl")
        if value is None:
            words = f"{name} has `scaling: horizontal` and no `redisServerUrl`, which that needs"
            remedy = "add redisServerUrl, as redis://HOST:PORT"
            yield make_diagnostic(document, "/scaling", "redis-url-missing", words, remedy)
            continue
        text = get_shown_text(value)
        found = parse_redis_url(text)
        if found is None:
            if not (isinstance(value, Secret) and value.missing):
                has_password = "@" in text
                yield make_diagnostic(
                    document,
                    "/redisServerUrl",
                    "redis-url-differs",
                    f"the redisServerUrl of {name} is not of the form "
                    + (
                        "redis://:PASSWORD@HOST:PORT; its password may have a "
                        "character that ends the password of a URL"
                        if has_password
                        else "redis://HOST:PORT"
                    ),
                    ENCODING_REMEDY
                    if has_password
                    else "write redis://HOST:PORT, with a password redis://:PASSWORD@HOST:PORT",
                )
            continue
        if entry.redis is not None and text.startswith("rediss:"):
            yield make_diagnostic(
                document,
                "/redisServerUrl",
                "redis-url-differs",
                f"the redisServerUrl of {name} uses TLS, which this program does not speak with Redis",
                "write redis://, or remove `redis` from the cluster, which is then left alone",
            )
            continue
        if entry.redis is not None and found.address != entry.redis.address.lower():
            yield make_diagnostic(
                document,
                "/redisServerUrl",
                "redis-url-differs",
                f"the redisServerUrl of {name} leads to {found.address}, but `redis` of the fleet file is "
                f"{entry.redis.address}",
                "write the same address in both",
            )
        first = first or text
        if text != first:
            words = f"{name} has another redisServerUrl than the other servers, so they do not work together"
            remedy = "give all servers of a cluster the same redisServerUrl"
            yield make_diagnostic(document, "/redisServerUrl", "redis-url-differs", words, remedy)


def _check_authorization(entry: CollabCluster, sound: Mapping[str, Document]) -> Iterator[Diagnostic]:
    """It is the load balancer's URL, followed by `/api`, and equal on all servers."""
    wanted = f"{entry.balancer.url}/api" if entry.balancer is not None else ""
    first = ""
    for name, document in _each_document(sound):
        text = get_text(document.value.get("authorizationServerUrl"))
        if text is None:
            continue
        wanted_here = wanted or first or text
        first = first or text
        if text.rstrip("/") == wanted_here:
            continue
        own = next((one for one in entry.nodes if one.host in text), None)
        words = f"the authorizationServerUrl of {name} is {text}"
        if own is not None and entry.balancer is not None:
            words += f", which is the server {own.name} alone: users would depend on it"
        yield make_diagnostic(
            document,
            "/authorizationServerUrl",
            "authorization-url",
            words,
            f"write the URL of the load balancer and /api, {wanted_here}, on all servers",
        )


def _check_equal_tls(entry: CollabCluster, sound: Mapping[str, Document]) -> Iterator[Diagnostic]:
    """One `proxy_pass` leads to all servers of the upstream."""
    if entry.balancer is None or entry.balancer.file is None:
        return
    first: tuple[str, Any] | None = None
    for name, document in _each_document(sound):
        shown = reveal(document.value.get("enableTls", False))
        first = first or (name, shown)
        if shown != first[1]:
            with_tls, without = (name, first[0]) if shown else (first[0], name)
            words = f"{with_tls} speaks TLS and {without} does not: the load balancer cannot reach both"
            remedy = "write the same `enableTls` for all servers"
            yield make_diagnostic(document, "/enableTls", "config-tls-differs", words, remedy)


def _each_document(sound: Mapping[str, Document]) -> Iterator[tuple[str, Document]]:
    """Each document once, with the first server that has it."""
    seen: set[int] = set()
    for name, document in sound.items():
        if id(document) not in seen:
            seen.add(id(document))
            yield name, document
