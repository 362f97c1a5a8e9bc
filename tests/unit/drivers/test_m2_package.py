"""Packages: the same bytes every time, readable by other programs, and hostile ones turned down."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import tarfile
import time
from pathlib import Path

import pytest
from support.m2_wire import BASE

from reconciler.core.plan import Payload
from reconciler.core.secret import Secret
from reconciler.drivers.m2 import package
from reconciler.drivers.m2.simulator.package import read_upload

DEFLATE = package.deflate_resources
FILES = {"certs/b.pem": b"B", "certs/a.pem": b"\x00" * 5000}


def test_the_same_payload_gives_the_same_bytes():
    one = package.pack_tgz(Payload(BASE, FILES))
    other = package.pack_tgz(Payload(json.loads(json.dumps(BASE)), dict(reversed(FILES.items()))))
    assert one == other
    assert one[4:8] == bytes(4)  # the time in gzip's header


def test_another_program_unpacks_it(tmp_path):
    whole = package.pack_tgz(Payload(BASE, FILES))
    subprocess.run(["tar", "-xzf", "-"], input=whole, cwd=tmp_path, check=True)
    listed = subprocess.run(["tar", "-tzf", "-"], input=whole, capture_output=True, check=True).stdout
    assert listed.split() == [b"setting.json", b"certs/a.pem", b"certs/b.pem"]
    assert json.loads((tmp_path / "setting.json").read_bytes()) == BASE
    assert (tmp_path / "certs/a.pem").read_bytes() == FILES["certs/a.pem"]


def test_secrets_travel_in_clear_and_keys_keep_their_order():
    document = {"z": Secret("key", "${env:KEY}"), "a": 1, "big": 2**70}
    for each in (document, {key: document[key] for key in ("z", "a")}):
        assert json.loads(package.encode_setting(each))["z"] == "key"
    assert list(json.loads(package.encode_setting({"z": 1, "a": 2}))) == ["z", "a"]


def test_a_digest_names_document_and_files():
    files = package.compute_digests(FILES)
    base = package.compute_payload_digest(BASE, files)
    assert package.compute_payload_digest(json.loads(json.dumps(BASE)), files) == base
    assert package.compute_payload_digest({**BASE, "x": 1}, files) != base
    assert package.compute_payload_digest(BASE, {**files, "certs/a.pem": "0"}) != base
    assert package.compute_payload_digest(
        {"k": Secret("v", "${env:V}")}, {}
    ) == package.compute_payload_digest({"k": "v"}, {})


@pytest.mark.parametrize("part", ["settingFile", "x"])
def test_the_simulated_node_accepts_the_multipart_body(part):
    kind, body = package.encode_body(Payload(BASE, FILES), part)
    headers = {"content-type": kind, "content-length": str(len(body))}
    taken = read_upload(headers, body, part, {})
    assert json.loads(taken.text) == BASE
    assert taken.resources == FILES


def test_resources_that_many_nodes_get_are_packed_once(monkeypatch):
    packed = []

    def deflate(resources):
        packed.append(resources)
        return DEFLATE(resources)

    monkeypatch.setattr(package, "deflate_resources", deflate)
    packages = package.PackageCache(most=2)
    shared = [{"a": text, "b": b"B"} for text in (b"1", b"2", b"3")]
    first, second, third = shared
    for number, files in enumerate((first, second, first, second)):
        payload = Payload({**BASE, "number": number}, dict(files))
        assert packages.tgz(payload) == package.pack_tgz(payload)
        packed.remove(files)  # by `pack_tgz`, which keeps nothing
    assert packed == [first, second]
    packages.tgz(Payload(BASE, third))
    packages.tgz(Payload(BASE, second))
    assert packed == [first, second, third]
    packages.tgz(Payload(BASE, first))
    assert packed == [first, second, third, first]


def test_without_files_the_setting_travels_alone():
    kind, body = package.encode_body(Payload(BASE), "settingFile")
    assert kind == "application/json"
    assert json.loads(body) == BASE


def test_files_of_a_package_are_relative_to_the_folder_of_its_setting():
    assert package.list_held_files(package.pack_tgz(Payload(BASE, FILES))) == package.compute_digests(FILES)
    deeper = archive({"./pkg/setting.json": b"{}", "./pkg/certs/a.pem": b"A"})
    assert package.list_held_files(deeper) == package.compute_digests({"certs/a.pem": b"A"})


def archive(files, members=()):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as target:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            target.addfile(member, io.BytesIO(data))
        for member in members:
            target.addfile(member)
    return out.getvalue()


def link(name, target):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a tgz",
        gzip.compress(b"not a tar"),
        package.pack_tgz(Payload(BASE, FILES))[:-40],
        archive({"other.json": b"{}"}),
    ],
    ids=["empty", "text", "gzip", "half", "without a setting"],
)
def test_an_invalid_package_is_refused_with_a_reason(data):
    with pytest.raises(package.UnreadablePackage):
        package.list_held_files(data)


PACKAGES = Path(__file__).parents[2] / "cases" / "packages"


@pytest.mark.parametrize(
    ("name", "why"),
    [("loop", "an invalid number"), ("crash", "a sparse file"), ("mem", "a sparse file")],
)
def test_an_archive_that_slows_the_standard_library_is_refused_at_once(name, why):
    began = time.process_time()
    with pytest.raises(package.UnreadablePackage, match=why):
        package.list_held_files((PACKAGES / f"{name}.tgz").read_bytes())
    assert time.process_time() - began < 1


def test_links_in_a_package_are_not_followed():
    assert (
        package.list_held_files(archive({"setting.json": b"{}"}, [link("certs/a.pem", "/etc/passwd")])) == {}
    )


def test_a_gzip_bomb_is_not_unpacked(monkeypatch):
    monkeypatch.setattr(package, "UNPACKED_LIMIT", 20_000)
    with pytest.raises(package.UnreadablePackage, match=r"unpacks to more than 19\.5 KB"):
        package.list_held_files(archive({"setting.json": b"{}", "zeros": bytes(100_000)}))
    assert package.list_held_files(archive({"setting.json": b"{}"})) == {}


def test_many_members_are_refused(monkeypatch):
    monkeypatch.setattr(package, "MOST_MEMBERS", 3)
    with pytest.raises(package.UnreadablePackage, match="more than 3 members"):
        package.list_held_files(archive({"setting.json": b"{}", "a": b"", "b": b"", "c": b""}))


@pytest.mark.parametrize("cut", range(0, 200, 7))
def test_every_cut_is_refused_with_a_reason(cut):
    whole = package.pack_tgz(Payload(BASE, {"a": b"A"}))
    with pytest.raises(package.UnreadablePackage):
        package.list_held_files(whole[:cut])


LARGE = bytes(range(256)) * 2000


def test_a_package_in_pieces_is_the_package_and_shares_all_but_its_setting():
    files = {**FILES, "geoip/a.mmdb": LARGE, "x" * 150 + "/ü.pem": b"long"}
    packages = package.PackageCache()
    one, other = (packages.parts(Payload({**BASE, "node": node}, dict(files))) for node in "ab")
    assert one.resources is other.resources
    assert len(one.resources) == 2  # the small files, and the large one
    assert b"".join(one.pieces()) == one.join() == package.pack_tgz(Payload({**BASE, "node": "a"}, files))
    with tarfile.open(fileobj=io.BytesIO(one.join())) as archive_:
        found = {member.name: archive_.extractfile(member).read() for member in archive_}
        assert {(member.mode, member.mtime, member.uid) for member in archive_} == {(0o644, 0, 0)}
    assert json.loads(found.pop("setting.json")) == {**BASE, "node": "a"}
    assert found == files


def test_a_large_file_keeps_its_part_when_another_file_changes():
    before = package.deflate_resources({**FILES, "geoip/a.mmdb": LARGE})
    after = package.deflate_resources({**FILES, "certs/a.pem": b"new", "geoip/a.mmdb": LARGE})
    assert before[0] != after[0]
    assert before[1] == after[1]


def test_the_program_tar_finds_nothing_wrong_with_a_package(tmp_path):
    whole = package.pack_tgz(Payload(BASE, {**FILES, "geoip/a.mmdb": LARGE}))
    run = subprocess.run(["tar", "-xzvf", "-"], input=whole, cwd=tmp_path, capture_output=True, check=True)
    assert not run.stderr
    assert (tmp_path / "geoip/a.mmdb").read_bytes() == LARGE
