"""Git's complaints, translated at one place into what an operator can act upon: pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from reconciler.errors import SourceError, SourceUnreachable
from reconciler.sources.source_address import SourceAddress
from reconciler.text.one_line import take_first_line
from reconciler.text.urls import strip_secrets


class DamagedMirror(SourceError):
    """The local copy lacks what it should have; made anew it is whole again."""

    def __init__(self, where: str, folder: str) -> None:
        super().__init__(
            f"{where}: the local copy of the repository is damaged", remedy=f"Delete {folder} and try again."
        )


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """One complaint.

    Args:
        pattern: what git's words contain.
        message: what it means, said of the repository.
        remedy: what to do.
        again: whether a retry may help.
    """

    pattern: str
    message: str
    remedy: str
    again: bool = False


SHA256 = "it uses object names (SHA-256) that are not supported"
SHA256_REMEDY = "Use a repository with SHA-1 object names."

RULES = (
    ErrorRule(
        r"cannot run ssh|ssh: (command )?not found",
        "ssh is not installed here",
        "Install the OpenSSH client, or use the https address.",
    ),
    ErrorRule(
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host shows another ssh key than the one known here",
        "Find out why before anything else. If the host was set up anew: ssh-keygen -R KNOWN, "
        "then add its new key to known_hosts.",
    ),
    ErrorRule(
        r"Host key verification failed|host key is known for",
        "its host's ssh key is not known here, so the host was not trusted",
        "Compare the key's fingerprint with the host's owner, then add it: "
        "ssh-keyscan SCANNED >> ~/.ssh/known_hosts",
    ),
    ErrorRule(
        r"Permission denied \([a-z,-]*(publickey|password|keyboard-interactive)|Too many authentication",
        "its host refuses the ssh key",
        "Add this account's public key there, or name the right key in ~/.ssh/config (IdentityFile).",
    ),
    ErrorRule(
        r"Load key .*(bad permissions|invalid format|error in libcrypto)|UNPROTECTED PRIVATE KEY",
        "the ssh key cannot be used",
        "Look at the key file: chmod 600, and the right format.",
    ),
    ErrorRule(
        r"SSL certificate problem|certificate verification failed|certificate has expired"
        r"|SSL_ERROR|gnutls_handshake",
        "its certificate is not trusted here",
        "Look at the certificate; one of your own authority needs http.sslCAInfo in git's configuration.",
    ),
    ErrorRule(
        r"[Oo]ut of memory|Cannot allocate memory|mmap failed|malloc failed",
        "it holds objects that take more memory than git may have here",
        "Find the large objects in it, with git rev-list --objects, and remove them.",
    ),
    ErrorRule(
        r"returned error: (429|5\d\d)|HTTP (429|5\d\d)",
        "its server has trouble of its own",
        "Try again later; look at the server.",
        again=True,
    ),
    ErrorRule(
        r"Authentication failed|could not read (Username|Password)|terminal prompts disabled"
        r"|returned error: 40[13]|HTTP 40[13]|HTTP Basic: Access denied",
        "it does not accept who asks",
        "Put a valid token into RECONCILE_GIT_TOKEN (sent over https only), or set up "
        "git's credential helper.",
    ),
    ErrorRule(
        r"dubious ownership|is owned by someone else",
        "it belongs to another user, and git refuses to read it",
        "If you trust it: git config --global --add safe.directory FOLDER",
    ),
    ErrorRule(
        r"[Rr]epository .*not found|does not appear to be a git repository|returned error: 404"
        r"|not a git repository|[Pp]roject .*(not be found|does not exist)",
        "there is no such repository, or it is hidden from who asks",
        "Look at the address; a private repository needs a token in RECONCILE_GIT_TOKEN or an ssh key.",
    ),
    ErrorRule(
        r"mismatched algorithms|unknown repository extension|unsupported object format",
        SHA256,
        SHA256_REMEDY,
    ),
    ErrorRule(
        r"No space left on device|Disk quota exceeded",
        "there is no space left for it here",
        "Make room in the cache folder's file system.",
    ),
    ErrorRule(
        r"Could not resolve proxy|Unsupported proxy|from proxy after CONNECT|CONNECT tunnel failed"
        r"|Proxy CONNECT aborted|returned error: 407|HTTP 407",
        "the proxy that the environment names for it does not work",
        "Look at the proxy and at https_proxy, http_proxy and all_proxy; "
        "hosts that are reached without a proxy belong into NO_PROXY.",
        again=True,
    ),
    ErrorRule(
        r"Could not resolve host|Name or service not known|Temporary failure in name resolution"
        r"|nodename nor servname",
        "its host's name is not known to the network",
        "Look at the name and at the DNS.",
        again=True,
    ),
    ErrorRule(
        r"Connection refused|timed out|unreachable|No route to host|Failed to connect|Couldn't connect"
        r"|Connection reset|Connection closed|early EOF|hung up|RPC failed"
        r"|Operation too slow|unexpected disconnect"
        r"|Empty reply|transfer closed|invalid index-pack|bad pack header|Could not read from remote",
        "it cannot be reached, or the connection broke",
        "Look at the network and at the server, then try again.",
        again=True,
    ),
    ErrorRule(
        r"transport '.*' not allowed",
        "its kind of address is not allowed",
        "Use https, ssh or a path.",
    ),
)

DAMAGED = re.compile(
    r"Unable to create '.*\.lock'|cannot lock ref|is corrupt|inflate: data stream error|bad object"
    r"|object file .* is empty"
    r"|missing blob|missing tree|did not send all necessary objects|unable to read (tree|sha1 file)"
    r"|bad config line \d+ in file \S*/git/[0-9a-f]{32}/config"
    r"|not a git repository: '\S*/git/[0-9a-f]{32}'"
)
SHALLOW = re.compile(
    r"does not support (--)?shallow|shallow capabilities|shallow update not allowed"
    r"|attempt to fetch/clone from a shallow"
)
UNADVERTISED = re.compile(
    r"not our ref|unadvertised object|couldn't find remote ref|no such remote ref|upload-pack: not our"
)


def translate_error(words: str, place: SourceAddress) -> SourceError:
    """The error to raise for what git wrote; everything secret in it is taken out."""
    for rule in RULES:
        if re.search(rule.pattern, words):
            kind = SourceUnreachable if rule.again else SourceError
            named = re.search(r"repository at '([^']+)'", words)
            remedy = rule.remedy.replace("FOLDER", named[1] if named else place.shown)
            return kind(f"{place.shown}: {rule.message}", remedy=_for_host(remedy, place.host))
    said = take_first_line(strip_secrets(_telling(words)))
    return SourceError(f"{place.shown}: git cannot read it: {said}", remedy="Try the same with git fetch.")


def _for_host(remedy: str, authority: str) -> str:
    """The remedy with the host in it, written as the ssh tools want it beside a port."""
    host, colon, port = authority.rpartition(":")
    known, scanned = (f"'[{host}]:{port}'", f"-p {port} {host}") if colon else (authority, authority)
    return remedy.replace("KNOWN", known).replace("SCANNED", scanned)


def _telling(words: str) -> str:
    """The line that tells most: the first that says fatal or error, else the first."""
    lines = [part for part in words.splitlines() if part.strip()]
    marked = [part for part in lines if part.startswith(("fatal:", "error:", "ERROR:"))]
    return (marked or lines or ["no reason given"])[0]
