"""Files that decide or hold secrets: who may write them, where names may lead, and that nothing hangs."""

import os
import socket
from pathlib import Path

import pytest

from reconciler.host.files import FileAbsent, FileRefused, read_below, read_regular, read_trusted

LIMIT = 1000


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "secrets"
    made.mkdir(mode=0o755)
    (made / "token").write_bytes(b"s3cret")
    return made


def below(folder, name):
    return read_below(folder, name, limit=LIMIT)


def test_a_file_below_the_folder(folder):
    (folder / "a/b").mkdir(parents=True)
    (folder / "a/b/c d").write_bytes(b"deep")
    assert below(folder, "token") == b"s3cret"
    assert below(folder, "a/b/c d") == b"deep"
    assert below(folder, "./a//b/./c d") == b"deep"


def test_a_volume_of_kubernetes(folder):
    data = folder / "..2026_11_29_14_00_00.123"
    data.mkdir()
    (data / "key").write_bytes(b"from a volume")
    (folder / "..data").symlink_to(data.name)
    (folder / "key").symlink_to("..data/key")
    assert below(folder, "key") == b"from a volume"


def test_a_link_that_stays_below_the_folder(folder, tmp_path):
    (folder / "a").mkdir()
    (folder / "a/up").symlink_to("../token")
    (folder / "whole").symlink_to(folder / "token")
    (tmp_path / "by").symlink_to("secrets")
    assert below(folder, "a/up") == b"s3cret"
    assert below(folder, "whole") == b"s3cret"
    assert below(tmp_path / "by", "whole") == b"s3cret"


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("../outside", "out of its folder"),
        ("a/../../outside", "out of its folder"),
        ("/etc/passwd", "out of its folder"),
        ("/proc/self/environ", "out of its folder"),
        ("{folder}/../outside", "out of its folder"),
        ("{folder}-other/x", "out of its folder"),
        ("loop", "too many symbolic links"),
        (".", "a folder"),
        ("gone", "does not exist"),
        ("token/x", "not a folder"),
    ],
)
def test_a_link_that_leads_out_or_nowhere(folder, tmp_path, target, why):
    (tmp_path / "outside").write_bytes(b"not for you")
    (folder / "a").mkdir()
    (folder / "loop").symlink_to(target.format(folder=folder))
    with pytest.raises(FileRefused, match=why):
        below(folder, "loop")


@pytest.mark.parametrize("name", ["../outside", "a/../../outside", "..", "token\0", "/etc/passwd/..", "a/.."])
def test_a_name_that_leads_out(folder, tmp_path, name):
    (tmp_path / "outside").write_bytes(b"not for you")
    (folder / "a").mkdir()
    with pytest.raises(FileRefused):
        below(folder, name)


@pytest.mark.parametrize("name", ["gone", "gone/deeper", "To\u212ben", "TOKEN", "token ", " token"])
def test_a_name_is_taken_byte_for_byte(folder, name):
    with pytest.raises(FileAbsent):
        below(folder, name)


def test_what_is_no_regular_file_is_refused_at_once(folder):
    os.mkfifo(folder / "fifo")
    (folder / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket"))
    for name in ("fifo", "folder", "socket", "", "."):
        with pytest.raises(FileRefused):
            below(folder, name)
        with pytest.raises(FileRefused):
            read_regular(folder / name, limit=LIMIT)
    with pytest.raises(FileRefused, match="regular"):
        read_regular(Path("/dev/zero"), limit=LIMIT)


def test_a_file_is_bounded_in_size(folder):
    (folder / "large").write_bytes(b"x" * (LIMIT + 1))
    (folder / "just").write_bytes(b"x" * LIMIT)
    os.truncate(folder / "token", 1 << 40)
    for name in ("large", "token"):
        with pytest.raises(FileRefused, match="1,000 bytes"):
            below(folder, name)
        with pytest.raises(FileRefused, match="1,000 bytes"):
            read_regular(folder / name, limit=LIMIT)
    assert len(below(folder, "just")) == LIMIT


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757, 0o1777])
@pytest.mark.parametrize("place", [".", "a"])
def test_a_folder_that_others_may_write_gives_no_secret(folder, mode, place):
    (folder / "a").mkdir()
    (folder / "a/x").write_bytes(b"s3cret")
    (folder / place).chmod(mode)
    with pytest.raises(FileRefused, match=f"others may write .*{mode:04o}.*chmod go-w"):
        below(folder, "a/x")


def test_a_folder_above_that_others_may_write_gives_no_secret(folder, tmp_path):
    tmp_path.chmod(0o777)
    with pytest.raises(FileRefused, match="others may write"):
        below(folder, "token")
    tmp_path.chmod(0o1777)  # as /tmp: nobody removes what belongs to others
    assert below(folder, "token") == b"s3cret"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_folder_or_a_link_of_somebody_else_gives_no_secret(folder, tmp_path):
    os.chown(folder, 12345, -1)
    with pytest.raises(FileRefused, match="belongs to user 12345"):
        below(folder, "token")
    os.chown(folder, 0, -1)
    (tmp_path / "by").symlink_to("secrets")
    os.chown(tmp_path / "by", 12345, -1, follow_symlinks=False)
    with pytest.raises(FileRefused, match="belongs to user 12345"):
        below(tmp_path / "by", "token")


@pytest.mark.parametrize("place", ["/proc/self", "/proc", "/sys/kernel", "/dev"])
def test_nothing_of_the_kernel_is_a_secret(tmp_path, place):
    (tmp_path / "by").symlink_to(place)
    for folder in (Path(place), tmp_path / "by"):
        with pytest.raises(FileRefused):
            below(folder, "environ")


def test_an_absent_folder_has_no_file(tmp_path):
    with pytest.raises(FileAbsent):
        below(tmp_path / "gone", "token")


def test_a_trusted_file_gives_its_real_path(folder, tmp_path):
    (tmp_path / "by").symlink_to("secrets")
    assert read_trusted(tmp_path / "by/token", limit=LIMIT) == (b"s3cret", folder.resolve() / "token")


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646])
def test_a_file_that_others_may_write_is_not_trusted(folder, mode):
    (folder / "token").chmod(mode)
    with pytest.raises(FileRefused, match=r"others may write .*token"):
        read_trusted(folder / "token", limit=LIMIT)


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775])
def test_a_file_in_a_folder_that_others_may_write_is_not_trusted(folder, mode):
    folder.chmod(mode)
    with pytest.raises(FileRefused, match="others may write"):
        read_trusted(folder / "token", limit=LIMIT)


def test_a_file_behind_a_link_counts_with_the_folders_of_its_target(folder, tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "open/real").write_bytes(b"{}")
    (folder / "link").symlink_to("../open/real")
    with pytest.raises(FileRefused, match=r"others may write .*open"):
        read_trusted(folder / "link", limit=LIMIT)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_somebody_else_is_not_trusted(folder):
    os.chown(folder / "token", 12345, -1)
    with pytest.raises(FileRefused, match="belongs to user 12345"):
        read_trusted(folder / "token", limit=LIMIT)
