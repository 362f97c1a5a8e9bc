"""`reconcile secrets`: keys, values, files and the editor, by the program's own entry point."""

import io
import os
import stat
import sys
from pathlib import Path

import pytest

from reconciler.cli import text_editor
from reconciler.cli.main import main
from reconciler.host.environment import Environment
from reconciler.host.host import Host
from reconciler.secrets.local_resolver import LocalResolver


@pytest.fixture
def repository(tmp_path, monkeypatch, capsys):
    """A folder with a list of recipients, and an identity outside it."""
    folder = tmp_path / "repository"
    folder.mkdir()
    assert main(["secrets", "keygen", str(tmp_path / "key")]) == 0
    (folder / ".age-recipients").write_text(capsys.readouterr().out)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("RECONCILE_AGE_IDENTITY_FILE", str(tmp_path / "key"))
    return folder


def _vault():
    return LocalResolver(Host(environment=Environment(os.environ)))


def _say(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def _editor(tmp_path, monkeypatch, body):
    script = tmp_path / "editor.py"
    script.write_text(f"import sys, pathlib, os\npath = pathlib.Path(sys.argv[1])\n{body}\n")
    monkeypatch.setenv("EDITOR", f"{sys.executable} {script}")


def test_keygen_writes_a_private_file_and_never_overwrites(repository, tmp_path, capsys):
    key = tmp_path / "key"
    before = key.read_text()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert main(["secrets", "keygen", str(key)]) == 1
    assert key.read_text() == before
    assert "AGE-SECRET-KEY" not in "".join(capsys.readouterr())


def test_a_value_from_standard_input_is_decrypted_to_itself(repository, monkeypatch, capsys):
    _say(monkeypatch, b"s3cret\n")
    assert main(["secrets", "encrypt"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("${age:")
    assert text.endswith("}\n")
    assert _vault().resolve("age", text[6:-2]) == "s3cret"


def test_a_file_is_encrypted_unchanged(repository, capsys):
    Path("key.pem").write_bytes(b"\x00pem\n")
    assert main(["secrets", "encrypt", "key.pem", "--out", "key.pem.age"]) == 0
    assert _vault().decrypt("", Path("key.pem.age").read_bytes()) == b"\x00pem\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["encrypt", "absent"], "absent"),
        (["encrypt", "empty"], "empty"),
        (["encrypt", "full", "--out", "x"], "must end in .age"),
        (["encrypt", "full", "--recipient", "age1x"], "invalid age recipient"),
        (["edit", "full"], "not an encrypted file"),
        (["edit", "x.age"], "no editor is set"),
    ],
)
def test_an_error_names_its_reason(repository, monkeypatch, capsys, arguments, words):
    monkeypatch.delenv("EDITOR", raising=False)
    Path("empty").touch()
    Path("full").write_text("x")
    assert main(["secrets", *arguments]) == 1
    assert words in capsys.readouterr().err
    assert not Path("x").exists()


def test_without_recipients_nothing_is_encrypted(repository, capsys):
    Path(".age-recipients").unlink()
    Path("full").write_text("x")
    assert main(["secrets", "encrypt", "full"]) == 1
    assert ".age-recipients" in capsys.readouterr().err


def test_edit_encrypts_again_only_a_changed_text(repository, tmp_path, monkeypatch, capsys):
    _editor(tmp_path, monkeypatch, "path.write_text(path.read_text() + 'more\\n')")
    assert main(["secrets", "edit", "notes.txt.age"]) == 0
    first = Path("notes.txt.age").read_bytes()
    assert _vault().decrypt("", first) == b"more\n"
    assert main(["secrets", "edit", "notes.txt.age"]) == 0
    assert _vault().decrypt("", Path("notes.txt.age").read_bytes()) == b"more\nmore\n"
    second = Path("notes.txt.age").read_bytes()
    _editor(tmp_path, monkeypatch, "")
    assert main(["secrets", "edit", "notes.txt.age"]) == 0
    assert "is unchanged" in capsys.readouterr().out
    assert Path("notes.txt.age").read_bytes() == second
    assert sorted(path.name for path in repository.iterdir()) == [".age-recipients", "notes.txt.age"]


@pytest.mark.parametrize(("end", "status"), [("", 0), ("sys.exit(3)", 1), ("os.kill(os.getppid(), 15)", 130)])
def test_the_plain_text_is_private_and_removed_at_the_end(repository, tmp_path, monkeypatch, end, status):
    place = tmp_path / "run"
    place.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place))
    note = tmp_path / "note"
    body = (
        "modes = [oct(p.stat().st_mode & 0o777) for p in (path, path.parent)]\n"
        f"open({str(note)!r}, 'w').write(' '.join([path.name, str(path.parent.parent), *modes]))\n"
        f"path.write_text('new')\n{end}"
    )
    _editor(tmp_path, monkeypatch, body)
    assert main(["secrets", "edit", "a.yaml.age"]) == status
    assert note.read_text() == f"a.yaml {place} 0o600 0o700"
    assert list(place.iterdir()) == []
    assert Path("a.yaml.age").exists() is (status == 0)


def test_a_wrong_identity_starts_no_editor(repository, tmp_path, monkeypatch, capsys):
    _editor(tmp_path, monkeypatch, "path.write_text('x')")
    assert main(["secrets", "edit", "a.age"]) == 0
    before = Path("a.age").read_bytes()
    assert main(["secrets", "keygen", str(tmp_path / "other")]) == 0
    monkeypatch.setattr(text_editor, "edit_text", None)
    assert main(["secrets", "edit", "a.age", "--identity", str(tmp_path / "other")]) == 1
    assert "cannot be decrypted" in capsys.readouterr().err
    assert Path("a.age").read_bytes() == before
