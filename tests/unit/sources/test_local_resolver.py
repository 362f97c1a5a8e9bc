"""Where secrets come from, and the errors where there are none."""

import os
from base64 import b64encode

import pyrage
import pytest

from reconciler.core.secret import mask, reveal
from reconciler.documents.document import parse_document
from reconciler.errors import SecretError
from reconciler.host.config import HostConfig
from reconciler.host.environment import Environment
from reconciler.host.host import Host
from reconciler.host.secret_files import LARGEST
from reconciler.secrets.local_resolver import LocalResolver, encrypt_data, parse_recipients
from reconciler.secrets.references import ReferenceMarker


@pytest.fixture
def identity():
    return pyrage.x25519.Identity.generate()


def _age(identity, text):
    return b64encode(encrypt_data(text, [identity.to_public()])).decode()


def _make(environment=None, identity=None, **secrets):
    config = HostConfig(secrets=secrets)
    return LocalResolver(Host(config, Environment(environment)), identity)


def test_an_environment_variable_even_an_empty_one():
    resolver = _make({"RECONCILE_SECRET_A": "x", "RECONCILE_SECRET_E": ""})
    assert resolver.resolve("env", "RECONCILE_SECRET_A") == "x"
    assert resolver.resolve("env", "RECONCILE_SECRET_E") == ""
    with pytest.raises(SecretError, match="RECONCILE_SECRET_B is not set") as caught:
        resolver.resolve("env", "RECONCILE_SECRET_B")
    assert caught.value.remedy == "set RECONCILE_SECRET_B"


@pytest.mark.parametrize(
    "name", ["PATH", "RECONCILE_GIT_TOKEN", "RECONCILE_SECRET_", "reconcile_secret_a", "RECONCILE_SECRETS"]
)
def test_a_variable_without_the_prefix_is_never_read(name):
    with pytest.raises(SecretError, match="begin with RECONCILE_SECRET_") as caught:
        _make({name: "s3cret"}).resolve("env", name)
    assert "`secrets.variables` in the host configuration" in caught.value.remedy
    assert "s3cret" not in str(caught.value)


def test_the_host_may_have_another_prefix():
    resolver = _make({"FLEET_A": "x", "RECONCILE_SECRET_A": "y"}, variables="FLEET_")
    assert resolver.resolve("env", "FLEET_A") == "x"
    with pytest.raises(SecretError, match="begin with FLEET_"):
        resolver.resolve("env", "RECONCILE_SECRET_A")


@pytest.mark.parametrize("prefix", ["RECONCILE_", "RECONCILE_GIT_", "RECON", "", "A-", "RECONCILE_SECRE"])
def test_no_prefix_reaches_the_credentials_of_the_program(prefix):
    with pytest.raises(ValueError, match="variables"):
        HostConfig(secrets={"variables": prefix})


@pytest.mark.parametrize(
    ("written", "read"), [(b"x\n", "x"), (b"x\r\n", "x"), (b"x\n\n", "x\n"), (b" x ", " x "), (b"", "")]
)
def test_a_file_without_its_last_line_break(tmp_path, written, read):
    (tmp_path / "f").write_bytes(written)
    resolver = _make(folders=[str(tmp_path)])
    assert resolver.resolve("file", str(tmp_path / "f")) == read
    assert resolver.resolve("file", "f") == read


def test_a_name_is_a_credential_of_a_systemd_unit(tmp_path, monkeypatch):
    (tmp_path / "kafka").write_text("secret")
    variables = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert _make(variables).resolve("file", "kafka") == "secret"
    assert _make(variables, folders=["$CREDENTIALS_DIRECTORY"]).resolve("file", "kafka") == "secret"
    monkeypatch.chdir(tmp_path)
    nowhere = _make(variables, folders=["/nowhere"])
    for resolver in (_make(), _make({"CREDENTIALS_DIRECTORY": "."}), nowhere):
        with pytest.raises(SecretError, match="kafka does not exist in /"):
            resolver.resolve("file", "kafka")


def test_without_a_list_the_folder_beside_the_users_host_file_counts(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "reconciler/secrets").mkdir(parents=True)
    (tmp_path / "reconciler/secrets/f").write_text("mine")
    assert _make().resolve("file", "f") == "mine"
    assert _make().resolve("file", str(tmp_path / "reconciler/secrets/f")) == "mine"


def test_a_name_is_looked_for_in_each_folder_in_their_order(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "both").write_text(folder)
    (tmp_path / "b/second").write_text("b")
    resolver = _make(folders=[str(tmp_path / "gone"), str(tmp_path / "a"), str(tmp_path / "b")])
    assert resolver.resolve("file", "both") == "a"
    assert resolver.resolve("file", "second") == "b"


@pytest.mark.parametrize(
    "name",
    ["/etc/shadow", "/proc/self/environ", "//proc/self/environ", "/dev/stdin", "/sys/kernel/notes",
     "{folder}", "{folder}/", "{folder}-other/f", "{folder}/../other/f", "/./etc/shadow"],
)  # fmt: skip
def test_a_file_outside_the_folders_is_never_opened(tmp_path, name):
    folder = tmp_path / "secrets"
    folder.mkdir()
    for other in ("secrets-other", "other"):
        (tmp_path / other).mkdir()
        (tmp_path / other / "f").write_text("s3cret")
    with pytest.raises(SecretError) as caught:
        _make(folders=[str(folder)]).resolve("file", name.format(folder=folder))
    assert "`secrets.folders`" in caught.value.remedy
    assert "host configuration" in caught.value.remedy


@pytest.mark.parametrize("kind", ["fifo", "folder", "link", "large", "open"])
def test_what_is_no_safe_file_is_refused_at_once(tmp_path, kind):
    folder = tmp_path / "secrets"
    folder.mkdir()
    path = folder / "f"
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "link":
            path.symlink_to("/etc/passwd")
        case "large":
            path.write_bytes(b"x" * (LARGEST + 1))
        case "open":
            path.write_text("x")
            folder.chmod(0o777)
    with pytest.raises(SecretError, match=str(path)):
        _make(folders=[str(folder)]).resolve("file", str(path))


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_is_not_there_or_no_text(tmp_path, content):
    if content is not None:
        (tmp_path / "f").write_bytes(content)
    with pytest.raises(SecretError, match=str(tmp_path)):
        _make(folders=[str(tmp_path)]).resolve("file", str(tmp_path / "f"))


def test_a_fifo_of_identities_does_not_hang(tmp_path, identity):
    os.mkfifo(tmp_path / "id")
    with pytest.raises(SecretError, match="regular file"):
        _make({"RECONCILE_AGE_IDENTITY_FILE": str(tmp_path / "id")}).resolve("age", _age(identity, b"x"))


def test_age_opens_with_an_identity_of_the_environment_or_of_a_file(tmp_path, identity):
    value = _age(identity, b"clear")
    (tmp_path / "id").write_text(f"# a comment\n\n{identity}\n")
    assert _make({"RECONCILE_AGE_IDENTITY": str(identity)}).resolve("age", value) == "clear"
    assert _make({"RECONCILE_AGE_IDENTITY_FILE": str(tmp_path / "id")}).resolve("age", value) == "clear"
    assert _make({}, tmp_path / "id").resolve("age", value) == "clear"


def test_a_missing_identity_is_reported(tmp_path, identity):
    value = _age(identity, b"clear")
    other = str(pyrage.x25519.Identity.generate())
    with pytest.raises(SecretError, match="no age identity is configured"):
        _make({}).resolve("age", value)
    with pytest.raises(SecretError, match="No matching keys"):
        _make({"RECONCILE_AGE_IDENTITY": other}).resolve("age", value)
    with pytest.raises(SecretError, match="cannot be decrypted"):
        _make({"RECONCILE_AGE_IDENTITY": other}).decrypt("junk.age", b"junk")


def test_a_bad_identity_is_never_quoted():
    with pytest.raises(SecretError) as caught:
        _make({"RECONCILE_AGE_IDENTITY": "AGE-SECRET-KEY-1OOPS"}).decrypt("x.age", b"")
    assert "OOPS" not in caught.value.message + caught.value.remedy
    assert caught.value.__cause__ is None


def test_each_secret_is_looked_up_once(tmp_path):
    path = tmp_path / "f"
    path.write_text("one")
    resolver = _make(folders=[str(tmp_path)])
    assert resolver.resolve("file", str(path)) == "one"
    path.write_text("two")
    assert resolver.resolve("file", str(path)) == "one"


def test_recipients_of_a_list_and_the_line_of_a_bad_one(identity):
    text = f"# team\n{identity.to_public()}\n\n"
    assert len(parse_recipients("list", text)) == 1
    with pytest.raises(SecretError, match="list:4: invalid age recipient"):
        parse_recipients("list", f"{text}age1nonsense\n")


def test_a_file_that_is_written_changed_or_taken_away_later_is_noticed(tmp_path):
    path, key = tmp_path / "f", tmp_path / "key"
    resolver = _make({"RECONCILE_AGE_IDENTITY_FILE": str(key)}, folders=[str(tmp_path)])
    assert not resolver.has_changed()
    with pytest.raises(SecretError, match="does not exist"):
        resolver.resolve("file", "f")
    assert not resolver.has_changed()
    path.write_text("one")
    assert resolver.has_changed()
    for text in ("one", "two", ""):
        path.write_text(text)
        resolver = _make(folders=[str(tmp_path)])
        resolver.resolve("file", "f")
        assert not resolver.has_changed()
        path.write_text(text + "+")
        assert resolver.has_changed()
    path.unlink()
    assert resolver.has_changed()


def test_an_identity_that_is_written_later_is_noticed(tmp_path, identity):
    key = tmp_path / "key"
    resolver = _make({"RECONCILE_AGE_IDENTITY_FILE": str(key)})
    with pytest.raises(SecretError):
        resolver.resolve("age", _age(identity, b"x"))
    assert not resolver.has_changed()
    key.write_text(str(identity))
    assert resolver.has_changed()


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.6, 0.9])
def test_a_cut_ciphertext_is_refused(identity, kept):
    whole = encrypt_data(b"s3cret " * 30_000, [identity.to_public()])
    cut = whole[: int(len(whole) * kept)]
    resolver = _make({"RECONCILE_AGE_IDENTITY": str(identity)})
    with pytest.raises(SecretError, match="cannot be decrypted"):
        resolver.decrypt("key.age", cut)
    with pytest.raises(SecretError, match="cannot be decrypted"):
        resolver.resolve("age", b64encode(cut).decode())
    for end in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), whole + b"x"):
        with pytest.raises(SecretError, match="cannot be decrypted"):
            resolver.decrypt("key.age", end)


@pytest.mark.parametrize("around", ["{}", "user:{}@host", "{}{}"])
@pytest.mark.parametrize("known", [True, False], ids=["known", "missing"])
def test_only_the_end_of_a_ciphertext_is_shown(identity, around, known):
    """It is long, and who gets the identity later can read it from a plan or a comment."""
    cipher = _age(identity, b"s3cret")
    resolver = _make({"RECONCILE_AGE_IDENTITY": str(identity)} if known else {})
    text = around.replace("{}", f"${{age:{cipher}}}")
    (found,) = ReferenceMarker(resolver).value([text], parse_document("s.json", b"[]"), ())
    shown = around.replace("{}", f"${{age:…{cipher[-8:]}}}")
    assert (str(found), mask(found), found.reference) == (shown, shown, shown)
    assert bool(found.missing) is not known
    if known:
        assert reveal(found) == around.replace("{}", "s3cret")
    else:
        assert cipher[:-8] not in f"{reveal(found)} {found.missing}"


def test_two_ciphertexts_differ_in_what_is_shown(identity):
    one, two = (
        ReferenceMarker(None).value(f"${{age:{_age(identity, text)}}}", parse_document("s.json", b"[]"), ())
        for text in (b"a", b"b")
    )
    assert str(one) != str(two)
    assert one != two
