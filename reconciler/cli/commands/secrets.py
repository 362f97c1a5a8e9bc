"""`reconcile secrets`: keys, encrypted values and encrypted files, so that no plain text is in git."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli.options import HostOptions, add_command, make_app
from reconciler.errors import SecretError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

app = make_app()

RECIPIENTS = ".age-recipients"
"""The file, in a folder or above it, that lists the recipients of secrets."""

Recipient = Annotated[
    list[str] | None,
    typer.Option(metavar="RECIPIENT", help=f"age1… or an SSH public key, instead of {RECIPIENTS}."),
]


@app.callback()
def secrets_group() -> None:
    """Encrypt secrets with age, so that they can be stored in git."""


@add_command(app, "encrypt")
def encrypt_value(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="File to encrypt; default: standard input.")
    ] = None,
    *,
    recipient: Recipient = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.age", help="Write an encrypted file instead of a value.")
    ] = None,
) -> int:
    """Encrypt a value or a file.

    Prints the value as `${age:…}`, for a file of the desired state. One line break at the end of the
    value is removed; with --out, the file is encrypted unchanged.
    """
    from base64 import b64encode

    from reconciler.secrets.local_resolver import encrypt_data

    to = _find_recipients(recipient, (out or file or Path("stdin")).absolute().parent)
    data = _read_value(file)
    if out is not None:
        if out.suffix != ".age":
            raise UsageError(
                f"--out {out}: the name of an encrypted file must end in .age", remedy=f"use {out}.age"
            )
        _write(out, encrypt_data(data, to))
        return 0
    value = data.removesuffix(b"\n").removesuffix(b"\r")
    if not value:
        raise UsageError("the value to encrypt is empty", remedy="give it on standard input, or name a file")
    sys.stdout.write(f"${{age:{b64encode(encrypt_data(value, to)).decode()}}}\n")
    return 0


@add_command(app, "edit")
def edit_encrypted_file(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE.age", help="Encrypted file; created if missing.")],
    *,
    recipient: Recipient = None,
    identity: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Identities that decrypt it; default: the environment's."),
    ] = None,
) -> int:
    """Edit an encrypted file with $VISUAL or $EDITOR.

    It is encrypted again only if the text changed. Meanwhile the plain text is in a private file, in
    memory if the system supports it. The file is always removed at the end.
    """
    from reconciler.cli.text_editor import edit_text
    from reconciler.secrets.local_resolver import LocalResolver, encrypt_data

    if file.suffix != ".age":
        raise UsageError(
            f"{file} is not an encrypted file", remedy="the name of an encrypted file ends in .age"
        )
    to = _find_recipients(recipient, file.absolute().parent)
    data = _access(file, file.read_bytes) if file.exists() else None
    host = HostOptions(context=context).read_host()
    old = b"" if data is None else LocalResolver(host, identity).decrypt(str(file), data)
    # The editor sees the name without .age: the suffix before it tells the language.
    new = edit_text(old, file.stem, host.environment)
    if new == old:  # encrypting it again would change every byte of the file in git
        sys.stdout.write(f"{file} is unchanged\n")
        return 0
    _write(file, encrypt_data(new, to))
    return 0


@add_command(app, "keygen")
def make_identity(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="New file for the identity.")],
) -> int:
    """Create an age identity and print its recipient.

    Only the owner can read the identity. Add the recipient to .age-recipients at the root of the
    repository; never add the identity.
    """
    import os

    from pyrage import x25519

    made = x25519.Identity.generate()
    public = str(made.to_public())

    def write() -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL  # never through a link, never over another identity
        with os.fdopen(os.open(file, flags, 0o600), "w", encoding="utf-8") as stream:
            stream.write(f"# recipient: {public}\n{made}\n")

    if file.exists():
        raise UsageError(
            f"{file} already exists", remedy="choose another file: an identity is never replaced"
        )
    _access(file, write)
    sys.stdout.write(f"{public}\n")
    return 0


def _find_recipients(given: list[str] | None, folder: Path) -> list[Any]:
    """The given recipients, else those of the nearest list in a folder or above it."""
    from reconciler.secrets.local_resolver import parse_recipients

    if given:
        return parse_recipients("--recipient", "\n".join(given))
    # The nearest list alone counts: a folder can have fewer readers than the rest of the repository.
    for above in (folder, *folder.parents):
        path = above / RECIPIENTS
        if path.is_file():
            found = parse_recipients(str(path), _access(path, path.read_text))
            if not found:
                raise SecretError(f"{path} has no recipient", remedy="write one recipient per line")
            return found
    raise SecretError(
        f"there is no recipient to encrypt for: no {RECIPIENTS} in {folder} or above it",
        remedy="write that file, with one recipient per line, or add --recipient",
    )


def _read_value(file: Path | None) -> bytes:
    if file is not None:
        return bytes(_access(file, file.read_bytes))
    if sys.stdin.isatty():
        from getpass import getpass

        return getpass("Value (not shown): ").encode()
    return sys.stdin.buffer.read()


def _write(path: Path, data: bytes) -> None:
    from reconciler.host.atomic_write import write_atomically

    _access(
        path,
        lambda: write_atomically(path, data, mode=path.stat().st_mode & 0o777 if path.exists() else 0o644),
    )
    sys.stdout.write(f"wrote {path}\n")


def _access(path: Path, work: Callable[[], Any]) -> Any:
    try:
        return work()
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror or error}", remedy="choose a file that you can read and write"
        ) from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text", remedy="choose a text file") from None
