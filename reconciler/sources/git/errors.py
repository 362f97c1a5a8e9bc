"""Errors of git, translated in one place into messages with a remedy: pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from reconciler.errors import SourceError, SourceUnreachable
from reconciler.sources.source_address import SourceAddress
from reconciler.text.one_line import take_first_line
from reconciler.text.urls import strip_secrets


class DamagedMirror(SourceError):
    """The local copy of a repository is damaged; a new copy repairs it."""

    def __init__(self, where: str, folder: str) -> None:
        super().__init__(
            f"{where}: the local copy of the repository is damaged", remedy=f"delete {folder} and try again"
        )


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """One kind of error.

    Args:
        pattern: regular expression for the error output of git.
        message: about the repository, to follow its address.
        remedy: what to do; FOLDER, KNOWN and SCANNED are replaced.
        again: whether a retry may help.
    """

    pattern: str
    message: str
    remedy: str
    again: bool = False


SHA256 = "its objects are named by SHA-256, and only repositories with SHA-1 names can be read"
SHA256_REMEDY = "push the files to a repository made with `git init --object-format=sha1`, or give a tarball"

NO_GIT = "it answers with something that is no git repository, such as a login page"
NO_GIT_REMEDY = "check the address; a private repository needs a token in RECONCILE_GIT_TOKEN"

# The first match counts: git repeats itself, and "Could not read from remote" ends most failures of ssh.
RULES = (
    ErrorRule(
        r"cannot run ssh|ssh: (command )?not found",
        "ssh is not installed here",
        "install the OpenSSH client, or use the https address",
    ),
    ErrorRule(
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "the ssh key of its host has changed",
        "find out why first; if the host was reinstalled, run ssh-keygen -R KNOWN "
        "and add its new key to known_hosts",
    ),
    ErrorRule(
        r"Host key verification failed|host key is known for",
        "the ssh key of its host is unknown, so the host is not trusted",
        "check the fingerprint of the key with the owner of the host, then add it: "
        "ssh-keyscan SCANNED >> ~/.ssh/known_hosts",
    ),
    ErrorRule(
        r"Permission denied \([a-z,-]*(publickey|password|keyboard-interactive)|Too many authentication",
        "its host rejects the ssh key",
        "add the public key of this account there, or set the right key in ~/.ssh/config (IdentityFile)",
    ),
    ErrorRule(
        r"Load key .*(bad permissions|invalid format|error in libcrypto)|UNPROTECTED PRIVATE KEY",
        "the ssh key cannot be used",
        "check the key file: it needs mode 600 and a valid format",
    ),
    ErrorRule(
        r"SSL certificate problem|certificate verification failed|certificate has expired"
        r"|SSL_ERROR|gnutls_handshake",
        "its certificate is not trusted",
        "check the certificate; for your own certificate authority, set http.sslCAInfo "
        "in the git configuration",
    ),
    ErrorRule(
        r"[Oo]ut of memory|Cannot allocate memory|mmap failed|malloc failed",
        "it contains objects that need more memory than git is allowed to use",
        "find the large objects with git rev-list --objects, and remove them",
    ),
    ErrorRule(
        r"returned error: (429|5\d\d)|HTTP (429|5\d\d)",
        "its server cannot answer now",
        "try again later, or check the server",
        again=True,
    ),
    ErrorRule(
        r"Authentication failed|could not read (Username|Password)|terminal prompts disabled"
        r"|returned error: 40[13]|HTTP 40[13]|HTTP Basic: Access denied",
        "it refused the login",
        "set RECONCILE_GIT_TOKEN to a valid token (sent over https only), or set up git's credential helper",
    ),
    ErrorRule(
        r"dubious ownership|is owned by someone else",
        "it belongs to another user, and git refuses to read it",
        "if you trust it, run: git config --global --add safe.directory FOLDER",
    ),
    ErrorRule(
        r"[Rr]epository .*not found|does not appear to be a git repository|returned error: 404"
        r"|not a git repository|[Pp]roject .*(not be found|does not exist)",
        "the repository does not exist, or this account may not read it",
        "check the address; a private repository needs a token in RECONCILE_GIT_TOKEN or an ssh key",
    ),
    ErrorRule(r"is this a git repository\?", NO_GIT, NO_GIT_REMEDY),
    ErrorRule(
        r"mismatched algorithms|unknown repository extension|unsupported object format", SHA256, SHA256_REMEDY
    ),
    ErrorRule(
        r"No space left on device|Disk quota exceeded",
        "there is no disk space left for it",
        "free disk space in the file system of the cache folder",
    ),
    ErrorRule(
        r"Could not resolve proxy|Unsupported proxy|from proxy after CONNECT|CONNECT tunnel failed"
        r"|Proxy CONNECT aborted|returned error: 407|HTTP 407",
        "the proxy that the environment sets for it does not work",
        "check the proxy and https_proxy, http_proxy and all_proxy; add hosts that need no proxy to NO_PROXY",
        again=True,
    ),
    ErrorRule(
        r"Could not resolve host|Name or service not known|Temporary failure in name resolution"
        r"|nodename nor servname",
        "its host name cannot be resolved",
        "check the name and the DNS",
        again=True,
    ),
    ErrorRule(
        r"Connection refused|timed out|unreachable|No route to host|Failed to connect|Couldn't connect"
        r"|Connection reset|Connection closed|early EOF|hung up|RPC failed"
        r"|Operation too slow|unexpected disconnect"
        r"|Empty reply|transfer closed|invalid index-pack|bad pack header|Could not read from remote",
        "it cannot be reached, or the connection was lost",
        "check the network and the server, then try again",
        again=True,
    ),
    ErrorRule(
        r"transport '.*' not allowed", "its type of address is not allowed", "use https, ssh or a path"
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


def translate_error(output: str, address: SourceAddress) -> SourceError:
    """The error for the output of git, without secrets."""
    for rule in RULES:
        if re.search(rule.pattern, output):
            kind = SourceUnreachable if rule.again else SourceError
            named = re.search(r"repository at '([^']+)'", output)
            # The tools of ssh take a port in two other forms than a URL.
            host, colon, port = address.host.rpartition(":")
            known, scanned = (f"'[{host}]:{port}'", f"-p {port} {host}") if colon else (address.host,) * 2
            remedy = rule.remedy.replace("FOLDER", named[1] if named else address.shown)
            remedy = remedy.replace("KNOWN", known).replace("SCANNED", scanned)
            return kind(f"{address.shown}: {rule.message}", remedy=remedy)
    lines = [part for part in output.splitlines() if part.strip()]
    # A server may print anything before: what git itself calls an error says more than the first line.
    marked = [part for part in lines if part.startswith(("fatal:", "error:", "ERROR:"))]
    reason = take_first_line(strip_secrets((marked or lines or ["no reason given"])[0]))
    return SourceError(
        f"{address.shown}: git cannot read it: {reason}", remedy="try the same address with git fetch"
    )
