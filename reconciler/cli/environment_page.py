"""One page with everything that a host can set: environment variables and the host configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from reconciler.cli.host_loader import make_config_model
from reconciler.cli.options import CI_BASES, ENVIRONMENT, FIRESTORE_EMULATOR
from reconciler.cli.render.text import PLAIN, TerminalLayout, Tone

WATCH_VARIABLES: Final = {
    "RECONCILE_WEBHOOK_SECRET": "of a watch: secret shared with the forge, for POST /webhook",
    "RECONCILE_WEBHOOK_SECRET_FILE": "of a watch: a file with this secret, read again when it changes",
}
"""Environment variables that only `reconcile watch` reads."""

_OTHERS: Final = {
    "TERM": "dumb: no colours and no animation",
    "COLUMNS": "width of the text, from 40 to 120; default: that of the terminal",
    "VISUAL, EDITOR": "the editor of `reconcile secrets edit`",
    "SSL_CERT_FILE": "certificate authorities of https sources and nodes, instead of the system's",
    FIRESTORE_EMULATOR: "of `reconcile simulate`: the Firestore emulator that simulated nodes use",
    "HTTPS_PROXY, NO_PROXY, …": "proxies for sources; nodes are reached without a proxy",
    "TRACEPARENT": "the trace that a command continues, if the host configuration has `traces`",
    "OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES": "what traces say about their sender; not where they go",
    ", ".join(CI_BASES): "set by GitHub Actions and GitLab CI; see --base",
}

_FOUND: Final = (
    "The first existing file of these is read once, when a command starts: --host-config FILE, the file in "
    "RECONCILE_HOST_CONFIG, /etc/reconciler/host.yaml, ~/.config/reconciler/host.yaml. Options win over "
    "variables, and variables over the file. `reconcile explain host` shows each key in full."
)


def render_environment(*, layout: TerminalLayout = PLAIN) -> str:
    """Environment variables, where the host configuration is, and each of its keys in a sentence."""
    fields = make_config_model().model_fields.items()
    keys = {
        field.alias or name: (field.description or "").partition(". ")[0].rstrip(".")
        for name, field in fields
    }
    blocks = [
        layout.paint("Environment variables", Tone.STRONG),
        *_list_rows({**ENVIRONMENT, **WATCH_VARIABLES, **_OTHERS}, layout),
        "",
        layout.paint("Host configuration", Tone.STRONG),
        *layout.wrapped(_FOUND, 2),
        "",
        *_list_rows(keys, layout),
    ]
    return "\n".join(blocks) + "\n"


def _list_rows(rows: Mapping[str, str], layout: TerminalLayout) -> Iterator[str]:
    for name, meaning in rows.items():
        yield f"  {name}"
        yield from layout.wrapped(meaning, 6)
