"""Where secrets come from, and what is said where they cannot be had."""

from base64 import b64encode

import pyrage
import pytest

from reconciler.errors import SecretError
from reconciler.sources.vault import LARGEST, LocalVault, encrypted, recipients


@pytest.fixture
def identity():
    return pyrage.x25519.Identity.generate()


def _age(identity, text):
    return b64encode(encrypted(text, [identity.to_public()])).decode()


def test_an_environment_variable_even_an_empty_one():
    vault = LocalVault({"A": "x", "E": ""})
    assert vault.clear("env", "A") == "x"
    assert vault.clear("env", "E") == ""
    with pytest.raises(SecretError, match="B is not set") as caught:
        vault.clear("env", "B")
    assert caught.value.remedy == "set B"


@pytest.mark.parametrize(
    ("written", "read"), [(b"x\n", "x"), (b"x\r\n", "x"), (b"x\n\n", "x\n"), (b" x ", " x "), (b"", "")]
)
def test_a_file_without_its_last_line_break(tmp_path, written, read):
    (tmp_path / "f").write_bytes(written)
    assert LocalVault({}).clear("file", str(tmp_path / "f")) == read


def test_a_name_is_a_credential_of_a_systemd_unit(tmp_path, monkeypatch):
    (tmp_path / "kafka").write_text("secret")
    assert LocalVault({"CREDENTIALS_DIRECTORY": str(tmp_path)}).clear("file", "kafka") == "secret"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SecretError, match="CREDENTIALS_DIRECTORY is not set"):
        LocalVault({}).clear("file", "kafka")


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"x" * (LARGEST + 1)])
def test_a_file_that_is_not_there_no_text_or_too_large(tmp_path, content):
    if content is not None:
        (tmp_path / "f").write_bytes(content)
    with pytest.raises(SecretError, match=str(tmp_path)):
        LocalVault({}).clear("file", str(tmp_path / "f"))


def test_age_opens_with_an_identity_of_the_environment_or_of_a_file(tmp_path, identity):
    value = _age(identity, b"clear")
    (tmp_path / "id").write_text(f"# a comment\n\n{identity}\n")
    assert LocalVault({"RECONCILE_AGE_IDENTITY": str(identity)}).clear("age", value) == "clear"
    assert LocalVault({"RECONCILE_AGE_IDENTITY_FILE": str(tmp_path / "id")}).clear("age", value) == "clear"
    assert LocalVault({}, tmp_path / "id").clear("age", value) == "clear"


def test_age_says_what_is_missing(tmp_path, identity):
    value = _age(identity, b"clear")
    other = str(pyrage.x25519.Identity.generate())
    with pytest.raises(SecretError, match="no age identity is given"):
        LocalVault({}).clear("age", value)
    with pytest.raises(SecretError, match="No matching keys"):
        LocalVault({"RECONCILE_AGE_IDENTITY": other}).clear("age", value)
    with pytest.raises(SecretError, match="cannot be decrypted"):
        LocalVault({"RECONCILE_AGE_IDENTITY": other}).opened("junk.age", b"junk")


def test_a_bad_identity_is_never_quoted():
    with pytest.raises(SecretError) as caught:
        LocalVault({"RECONCILE_AGE_IDENTITY": "AGE-SECRET-KEY-1OOPS"}).opened("x.age", b"")
    assert "OOPS" not in caught.value.message + caught.value.remedy
    assert caught.value.__cause__ is None


def test_each_secret_is_looked_up_once(tmp_path):
    path = tmp_path / "f"
    path.write_text("one")
    vault = LocalVault({})
    assert vault.clear("file", str(path)) == "one"
    path.write_text("two")
    assert vault.clear("file", str(path)) == "one"


def test_recipients_of_a_list_and_the_line_of_a_bad_one(identity):
    text = f"# team\n{identity.to_public()}\n\n"
    assert len(recipients("list", text)) == 1
    with pytest.raises(SecretError, match="list:4: this is no age recipient"):
        recipients("list", f"{text}age1nonsense\n")
