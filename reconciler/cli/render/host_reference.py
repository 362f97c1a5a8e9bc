"""The reference of the host configuration in Markdown, generated from its models."""

from __future__ import annotations

from reconciler.cli.host_loader import make_config_model
from reconciler.cli.render.model_table import render_model_table

_INTRODUCTION = """# Host configuration

**For** administrators of a management host.

Made from the program; `reconcile explain host` prints it. One file says what this management host decides
and a repository must not decide. Otherwise anybody who can merge a commit could choose where secrets are
read, which machines are reached and which programs run.

The first existing file of this list is read, once, when a command starts: `--host-config FILE`, the file in
`RECONCILE_HOST_CONFIG`, `/etc/reconciler/host.yaml`, and `reconciler/host.yaml` in the user's configuration
folder (`~/.config`). A file named by the option or the variable must exist. Without a file every key has its
default. Unknown keys are errors and are reported with line and column. `reconcile schemas` writes the
[JSON Schema](../schemas/host.schema.json).

```yaml
state: /var/lib/reconciler
secrets:
  folders: [$CREDENTIALS_DIRECTORY, /etc/reconciler/secrets]
networks: [192.0.2.0/24, "2001:db8::/32"]
signers: {required: ssh, allowed: /etc/reconciler/allowed_signers}
commands:
  stop-sora:
    run: [systemctl, stop, sora]
    ssh: sora
    sudo: true
    timeout: 2m
ssh:
  sora:
    user: reconciler
    keys: [/etc/reconciler/ssh/id_ed25519]
    known_hosts: /etc/reconciler/ssh/known_hosts
```

The file is refused

- if another user than root or the user who runs `reconcile` owns it or a folder above it, or can write to
  them. A folder above with the sticky bit, such as `/tmp`, is accepted. Links count together with the
  folders that they lead through;
- if it is in the source, or in the work tree of the source. The same is true for the files of `signers`.

Options and environment variables of a command take precedence: `--state`, `--require-signed`,
`--allowed-signers`, `--revoked-signers`. The files under `signers` are used only if the required kind of
signature (ssh or gpg) is the one in `signers`.

## References to secrets

`${file:NAME}` is searched in each of the folders in order. `${file:/PATH}` must be below one of them. Links
are followed if they stay below the folder, so volumes of Kubernetes work. Only regular files of at most one
megabyte are read, in folders that only root and this user can write; `/proc`, `/dev` and `/sys` never. The
error names the refused file and the setting that would allow it. The secret then counts as unavailable.

## Commands

A fleet file names a command, such as `stop: {command: stop-sora, arguments: {unit: sora}}`. Each placeholder
of `run` is replaced within its argument, which is never split. Values can have letters, digits and
`. : @ + = , % _ -`, and cannot start with `-`. So a value can be neither an option nor code for the shell to
which `ssh` gives its arguments. `{{` and `}}` are braces. The program itself cannot have a placeholder.

A plan that needs a command which the host does not have is refused before anything is done
(`unknown-command`). Without a host configuration, as in a pull request, a dry run does not check this.

## Files

A fleet file names an entry of `files` and gives data for its content. The entry has the path, the way to the
machine, and the program that checks new content. So a commit can never choose which file is read or written:
otherwise it could show `/etc/shadow` in a plan. Choose files whose content may be shown in plans, with
secrets masked, in folders that only root can write. [Files of nodes](files.md) says how they are delivered
and which lines a file of sudoers needs.

With `ssh`, a command runs on the node's machine: [machines over SSH](ssh.md). Without it, a command runs on
this host, without a shell and in a session of its own. After its timeout it is killed with all processes that
it started. It gets PATH, HOME, USER, LANG, TZ, TMPDIR and similar variables, and those that it lists.

## Credentials of the program

Credentials are in variables or, better, in files that variables name: `RECONCILE_GIT_TOKEN_FILE`,
`RECONCILE_SOURCE_TOKEN_FILE`, `RECONCILE_WEBHOOK_SECRET_FILE`, `RECONCILE_AGE_IDENTITY_FILE`, and
`RECONCILE_AWS_SECRET_ACCESS_KEY_FILE` for entries of `aws` without a file of their own. Token files are
read at each use, so a new token works without a restart. When the program starts, it reads its environment
once and clears it, also in `/proc/PID/environ`. It writes no core files, and other processes of its user
cannot read its memory. Programs that it starts get a list of harmless variables. Only `git fetch` and
`git ls-remote` get the git token.

Files with keys and passwords that this file names, such as those of `ssh`, `aws`, `oci`, `kafka`, `firestore`
and `database`, are refused if every user of this machine can read them (`chmod 600`), or if another user than
root and the user who runs `reconcile` can write them or replace them."""


def render_host_reference() -> str:
    """Every key of the host configuration, with defaults and meaning, as Markdown."""
    return "\n\n".join([_INTRODUCTION, *render_model_table("Keys", make_config_model(), set())]) + "\n"
