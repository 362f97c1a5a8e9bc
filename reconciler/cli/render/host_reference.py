"""The reference of the host configuration in Markdown, made from the models that read it."""

from __future__ import annotations

from reconciler.cli.host_loader import make_config_model
from reconciler.cli.render.model_table import render_model_table

_INTRODUCTION = """# Host configuration

Made from the program; `reconcile explain host` prints it. One file says what this management host
decides and a tree of desired state must not: otherwise whoever can merge a commit could choose where secrets
are read, which machines are reached and what is run.

The first of these that exists is read, once, when a command starts: `--host-config FILE`, the file that
`RECONCILE_HOST_CONFIG` names, `/etc/reconciler/host.yaml`, and `reconciler/host.yaml` in the user's
configuration folder (`~/.config`). A file that is named must exist. Without a file every key has its
default. Unknown keys are errors, at their line and column. Its [JSON Schema](../schemas/host.schema.json)
is written by `reconcile schemas`, with the others.

```yaml
state: /var/lib/reconciler
secrets:
  folders: [$CREDENTIALS_DIRECTORY, /etc/reconciler/secrets]
networks: [192.0.2.0/24, "2001:db8::/32"]
signers: {required: ssh, allowed: /etc/reconciler/allowed_signers}
commands:
  stop-sora:
    run: [ssh, "{host}", sudo, systemctl, stop, sora]
    timeout: 2m
    variables: [SSH_AUTH_SOCK]
```

The file is refused

- unless root or the user who runs `reconcile` owns it and every folder above it, and nobody else may
  write them (a folder above with the sticky bit, such as `/tmp`, passes; links count with the folders
  that they lead through);
- where it lies in the source, or in the work tree that the source belongs to, as do the files of
  `signers`.

Options and environment variables of a command take precedence: `--state`, `--require-signed`,
`--allowed-signers`, `--revoked-signers`. The files under `signers` are used only where the kind of
signature that is asked for (ssh or gpg) is the one that `signers` names.

## References to secrets

`${file:NAME}` is looked for in each of the folders in turn, `${file:/PATH}` must lie below one of them.
Links are followed as long as they stay below the folder, so that volumes of Kubernetes work. Only regular
files of at most one megabyte are read, in folders that nobody but root and this user may write; `/proc`,
`/dev` and `/sys` never. What is refused is named with the setting that would allow it, and counts as a
secret that is not known here.

## Commands

A fleet file names a command, such as `stop: {command: stop-sora, arguments: {unit: sora}}`. Each
placeholder of `run` is replaced within its argument, which is never split. Values may have letters,
digits and `. : @ + = , % _ -`, and do not begin with `-`, so that none is an option, nor anything for the
shell to which `ssh` hands its arguments. `{{` and `}}` are braces. The program itself has no placeholder.
A plan that needs a command which the host does not have is refused before anything is done
(`unknown-command`); where there is no host file, as for a pull request, a dry run does not check it.

A command runs without a shell, in a session of its own, is killed with all that it started when its time
is over, and gets PATH, HOME, USER, LANG, TZ, TMPDIR and the like, and the variables that it lists.

## Credentials of the program

Credentials come in variables, or better in files that variables name: `RECONCILE_GIT_TOKEN_FILE`,
`RECONCILE_SOURCE_TOKEN_FILE`, `RECONCILE_WEBHOOK_SECRET_FILE`, `RECONCILE_AGE_IDENTITY_FILE`. Files of
tokens are read at every use, so that a new token counts without a restart. When the program starts it
reads its environment once and wipes it, also from `/proc/PID/environ`; it makes no core files, and other
processes of its user cannot look into its memory. What it starts gets a list of harmless variables; the
git token goes to `git fetch` and `git ls-remote` alone."""


def render_host_reference() -> str:
    """Every key of the host configuration, with defaults and meaning, as Markdown."""
    return "\n\n".join([_INTRODUCTION, *render_model_table("Keys", make_config_model(), set())]) + "\n"
