"""Files in a real folder: read, staged, switched, restored, and whole at every moment."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from support.machines import FaultyMachine, make_file_transport

from reconciler.core.file_state import FilePlace, FileState, compute_file_digest
from reconciler.errors import NodeError, NodeRefused, NodeUnauthorized, NodeUnreachable

PLACE = FilePlace("conf", "n")
OLD, NEW = b"cluster = true\n", b"cluster = true\r\n# no end"
BEFORE, AFTER = compute_file_digest(OLD), compute_file_digest(NEW)


@pytest.fixture
def conf(tmp_path):
    path = tmp_path / "etc" / "sora.conf"
    path.parent.mkdir()
    path.write_bytes(OLD)
    path.chmod(0o640)
    return path


def beside(path: Path, role: str) -> Path:
    return path.with_name(f".{path.name}.reconciler-{role}")


def names(path: Path) -> list[str]:
    return sorted(one.name for one in path.parent.iterdir())


async def test_a_file_is_read_with_its_digest(conf):
    assert await make_file_transport(conf).read(PLACE) == FileState(OLD)
    assert (await make_file_transport(conf).read(PLACE)).digest == BEFORE
    conf.unlink()
    assert await make_file_transport(conf).read(PLACE) == FileState(None)


@pytest.mark.parametrize("content", [b"", b"\0\xff\r\n", b"x" * 200_000])
async def test_any_content_is_written_and_read_as_it_is(conf, content):
    files = make_file_transport(conf)
    await files.stage(PLACE, content)
    await files.switch(PLACE, before=BEFORE, after=compute_file_digest(content))
    assert (await files.read(PLACE)).content == conf.read_bytes() == content


async def test_a_switch_keeps_a_backup_and_can_be_taken_back(conf):
    files = make_file_transport(conf)
    assert await files.stage(PLACE, NEW) == f"{conf} is written aside"
    assert await files.read(PLACE) == FileState(OLD, staged=AFTER)
    assert await files.switch(PLACE, before=BEFORE, after=AFTER) == f"{conf} is in place"
    assert await files.read(PLACE) == FileState(NEW, backup=BEFORE)
    assert names(conf) == [".sora.conf.reconciler-old", "sora.conf"]
    assert await files.restore(PLACE, before=AFTER, after=BEFORE) == f"{conf} is as before"
    assert await files.read(PLACE) == FileState(OLD)
    assert names(conf) == ["sora.conf"]


async def test_a_new_file_has_the_rights_of_the_entry_and_is_removed_again(conf):
    conf.unlink()
    files = make_file_transport(conf, mode="0644")
    await files.stage(PLACE, NEW)
    beside(conf, "old").write_bytes(b"of another time")
    await files.switch(PLACE, before="", after=AFTER)
    assert await files.read(PLACE) == FileState(NEW)
    assert stat.S_IMODE(conf.stat().st_mode) == 0o644
    assert names(conf) == ["sora.conf"]
    await files.restore(PLACE, before=AFTER, after="")
    assert await files.read(PLACE) == FileState(None)
    await make_file_transport(conf).stage(PLACE, NEW)
    assert stat.S_IMODE(beside(conf, "new").stat().st_mode) == 0o600


async def test_a_file_that_appears_during_the_switch_is_not_replaced(conf):
    conf.unlink()
    machine = FaultyMachine()
    files = make_file_transport(conf, machine)
    await files.stage(PLACE, NEW)
    machine.before = lambda program: conf.write_bytes(b"by hand") if program[0] == "ln" else None
    with pytest.raises(NodeRefused, match="File exists"):
        await files.switch(PLACE, before="", after=AFTER)
    assert conf.read_bytes() == b"by hand"


async def test_owner_mode_and_access_lists_are_kept(conf):
    if os.getuid() == 0:
        os.chown(conf, 1234, 4321)
    conf.chmod(0o4750)
    setfacl = shutil.which("setfacl")
    listed = (
        setfacl is not None
        and subprocess.run([setfacl, "-m", "u:65534:r", conf], check=False).returncode == 0
    )

    def rights(path):
        found = path.stat()
        shown = (
            subprocess.run(["getfacl", "-cpn", path], check=True, capture_output=True).stdout
            if listed
            else b""
        )
        return stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, shown

    wanted = rights(conf)
    assert not listed or b"user:65534:r" in wanted[3]
    machine = FaultyMachine()
    seen = []

    def look(program):
        for role in ("part", "new", "old"):
            if beside(conf, role).exists():
                seen.append(rights(beside(conf, role)))  # noqa: PERF401

    machine.before = look
    files = make_file_transport(conf, machine)
    await files.stage(PLACE, NEW)
    await files.switch(PLACE, before=BEFORE, after=AFTER)
    assert rights(conf) == wanted
    assert len(seen) > 5
    assert set(seen) == {wanted}, "nothing beside it is readable by more than the file itself"
    await files.restore(PLACE, before=AFTER, after=BEFORE)
    assert rights(conf) == wanted


async def test_a_file_that_was_changed_is_not_replaced(conf):
    files = make_file_transport(conf)
    await files.stage(PLACE, NEW)
    conf.write_bytes(b"by hand")
    with pytest.raises(NodeRefused, match="it was changed since it was read") as caught:
        await files.switch(PLACE, before=BEFORE, after=AFTER)
    assert (caught.value.is_final, caught.value.is_lost) == (False, False)
    assert conf.read_bytes() == b"by hand"
    conf.write_bytes(OLD)
    beside(conf, "new").write_bytes(b"another")
    with pytest.raises(NodeRefused, match="what is written aside was changed"):
        await files.switch(PLACE, before=BEFORE, after=AFTER)
    with pytest.raises(NodeRefused, match="its backup was changed"):
        await files.restore(PLACE, before=BEFORE, after=AFTER)
    assert conf.read_bytes() == OLD


@pytest.mark.parametrize("way", ["in place", "by rename"])
async def test_a_change_by_hand_between_two_programs_of_a_switch_is_never_lost(conf, way):
    async def switch(index):
        conf.write_bytes(OLD)
        machine = FaultyMachine()
        files = make_file_transport(conf, machine)
        await files.stage(PLACE, NEW)
        machine.programs.clear()

        def change(program):
            if len(machine.programs) == index + 1:
                edited = conf.with_name("edited")
                (conf if way == "in place" else edited).write_bytes(b"by hand")
                if way == "by rename":
                    edited.rename(conf)

        machine.before = change
        try:
            return await files.switch(PLACE, before=BEFORE, after=AFTER), machine
        except NodeRefused:
            return "refused", machine

    words, machine = await switch(None if False else -2)
    rename = [program[0] for program in machine.programs].index("mv")
    for index in range(len(machine.programs)):
        words, _ = await switch(index)
        kept = [one.read_bytes() for one in conf.parent.iterdir()]
        if index > rename or b"by hand" in kept:
            assert index > rename or words == "refused" or "changed by hand in that moment" in words
            continue
        # One system call is left between the last look and the rename, which nothing can exclude.
        assert (way, index) == ("by rename", rename)


CALLS = {
    "stage": lambda files: files.stage(PLACE, NEW),
    "switch": lambda files: files.switch(PLACE, before=BEFORE, after=AFTER),
    "restore": lambda files: files.restore(PLACE, before=AFTER, after=BEFORE),
    "discard": lambda files: files.discard(PLACE),
}
EARLIER = {"stage": (), "switch": ("stage",), "restore": ("stage", "switch"), "discard": ("stage",)}
IS_DONE = {
    "stage": lambda state: state.staged == AFTER,
    "switch": lambda state: state.content == NEW,
    "restore": lambda state: state.content == OLD,
    "discard": lambda state: not state.staged and not state.leftover,
}
CHECK = ["test", "-s", "{file}"]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("performed", [False, True])
async def test_a_connection_that_breaks_at_any_program_leaves_a_whole_file(conf, call, performed):
    sound = make_file_transport(conf, check=CHECK)
    for index in range(30):
        for one in conf.parent.iterdir():
            one.unlink()
        conf.write_bytes(OLD)
        for earlier in EARLIER[call]:
            await CALLS[earlier](sound)
        machine = FaultyMachine(index, performed=performed)
        try:
            await CALLS[call](make_file_transport(conf, machine, check=CHECK))
        except NodeUnreachable:
            pass
        else:
            assert index >= len(machine.programs) > 0
            return
        state = await sound.read(PLACE)
        assert state.content in ({OLD, NEW} if call in {"switch", "restore"} else {OLD})
        assert state.staged in {"", AFTER}
        assert state.backup in {"", BEFORE}
        if not IS_DONE[call](state):  # a later run finishes what a reading shows as not done
            await CALLS[call](sound)
        assert IS_DONE[call](await sound.read(PLACE)), (index, machine.programs[-1])
    raise AssertionError("it never ended")


async def test_a_write_that_is_cut_at_any_byte_is_never_taken_for_the_content(conf):
    sound = make_file_transport(conf)
    machine = FaultyMachine()
    await make_file_transport(conf, machine).stage(PLACE, NEW)
    index = [program[0] for program in machine.programs].index("dd")
    for cut in range(len(NEW) + 1):
        with pytest.raises(NodeUnreachable, match="the connection broke"):
            await make_file_transport(conf, FaultyMachine(index, written=cut)).stage(PLACE, NEW)
        assert await sound.read(PLACE) == FileState(OLD, leftover=True)
        assert beside(conf, "part").read_bytes() == NEW[:cut]
    await sound.discard(PLACE)
    assert names(conf) == ["sora.conf"]


async def test_content_that_its_check_refuses_is_told_and_removed(conf):
    (conf.parent.parent / "check.sh").write_text(
        'echo "line 3: password=hunter2secret is bad"; test $1 = none\n'
    )
    check = ["sh", str(conf.parent.parent / "check.sh"), "{file}"]
    files = make_file_transport(conf, check=check)
    with pytest.raises(
        NodeRefused, match="refused by its check, which ended with status 1: line 3"
    ) as caught:
        await files.stage(PLACE, NEW)
    assert caught.value.is_final
    assert "hunter2" not in str(caught.value)
    assert await files.read(PLACE) == FileState(OLD)
    assert names(conf) == ["sora.conf"]


async def test_the_check_sees_the_new_content_and_a_killed_check_proves_nothing(conf, tmp_path):
    program = tmp_path / "check.sh"
    program.write_text(f"cp $1 {tmp_path}/seen; kill -9 $$\n")
    files = make_file_transport(conf, check=["sh", str(program), "{file}"])
    with pytest.raises(NodeError):
        await files.stage(PLACE, NEW)
    assert (tmp_path / "seen").read_bytes() == NEW
    assert (await files.read(PLACE)).staged == ""


async def test_links_are_refused_unless_the_entry_follows_them(conf, tmp_path):
    link = tmp_path / "link.conf"
    link.symlink_to(conf)
    refused = make_file_transport(link)
    for call in (
        lambda: refused.read(PLACE),
        lambda: refused.stage(PLACE, NEW),
        lambda: refused.switch(PLACE, before=BEFORE, after=AFTER),
    ):
        with pytest.raises(NodeRefused, match="symbolic link") as caught:
            await call()
        assert "follow: true" in caught.value.remedy
    files = make_file_transport(link, follow=True)
    assert await files.read(PLACE) == FileState(OLD)
    await files.stage(PLACE, NEW)
    await files.switch(PLACE, before=BEFORE, after=AFTER)
    assert (link.is_symlink(), conf.read_bytes()) == (True, NEW)
    assert beside(conf, "old").read_bytes() == OLD
    conf.unlink()
    with pytest.raises(NodeRefused, match="leads nowhere"):
        await files.read(PLACE)
    link.unlink()
    assert await files.read(PLACE) == FileState(None)
    link.symlink_to("/proc/version")
    with pytest.raises(NodeRefused, match="never read or written"):
        await files.read(PLACE)


async def test_a_link_that_is_put_beside_a_file_leads_nothing_of_ours_away(conf, tmp_path):
    secret = tmp_path / "shadow"
    secret.write_bytes(b"root:x")
    for role in ("part", "new", "old"):
        beside(conf, role).symlink_to(secret)
    files = make_file_transport(conf)
    assert await files.read(PLACE) == FileState(OLD, leftover=True)
    machine = FaultyMachine()

    def lead_away(program):
        if program[0] == "dd":
            beside(conf, "part").unlink()
            beside(conf, "part").symlink_to(secret)

    machine.before = lead_away
    with pytest.raises(NodeRefused, match="Too many levels of symbolic links"):
        await make_file_transport(conf, machine).stage(PLACE, NEW)
    await files.stage(PLACE, NEW)
    await files.switch(PLACE, before=BEFORE, after=AFTER)
    assert (conf.read_bytes(), beside(conf, "old").read_bytes(), secret.read_bytes()) == (NEW, OLD, b"root:x")


async def test_a_file_becoming_a_link_while_it_is_read_shows_nothing_else(conf, tmp_path):
    (tmp_path / "shadow").write_bytes(b"x" * len(OLD))
    machine = FaultyMachine()

    def lead_away(program):
        if program[0] == "dd":
            conf.unlink(missing_ok=True)
            conf.symlink_to(tmp_path / "shadow")

    machine.before = lead_away
    with pytest.raises(NodeError, match="symbolic link"):
        await make_file_transport(conf, machine).read(PLACE)


async def test_a_file_with_hard_links_is_refused(conf):
    os.link(conf, conf.with_name("other"))
    with pytest.raises(NodeRefused, match="has 2 hard links, of which a switch replaces only one"):
        await make_file_transport(conf).read(PLACE)


@pytest.mark.parametrize("kind", ["folder", "pipe"])
async def test_what_is_no_regular_file_is_refused(conf, kind):
    conf.unlink()
    conf.mkdir() if kind == "folder" else os.mkfifo(conf)
    with pytest.raises(NodeRefused, match="not a regular file"):
        await make_file_transport(conf).read(PLACE)


async def test_sizes_are_bounded_both_ways(conf):
    files = make_file_transport(conf, limit=len(OLD))
    assert (await files.read(PLACE)).content == OLD
    with pytest.raises(NodeRefused, match="would have 24 bytes, and its limit is 15") as caught:
        await files.stage(PLACE, NEW)
    assert caught.value.is_final
    conf.write_bytes(b"x" * 16)
    with pytest.raises(NodeRefused, match="has 16 bytes, and its limit is 15"):
        await files.read(PLACE)


async def test_a_file_that_grows_while_it_is_read_is_read_again(conf):
    machine = FaultyMachine()
    grown = []

    def grow(program):
        if program[0] == "dd" and len(grown) < 2:
            grown.append(1)
            conf.write_bytes(conf.read_bytes() + b"more\n")

    machine.before = grow
    assert (await make_file_transport(conf, machine).read(PLACE)).content == OLD + b"more\n" * 2
    machine.before = lambda program: (
        conf.write_bytes(conf.read_bytes() + b"x") if program[0] == "dd" else None
    )
    with pytest.raises(NodeUnreachable, match="changes while it is read"):
        await make_file_transport(conf, machine).read(PLACE)


FULL = (1, b"", b"dd: error writing '.sora.conf.reconciler-part': No space left on device\n")


@pytest.mark.parametrize(
    ("program", "answer", "kind", "words"),
    [
        ("dd", FULL, NodeUnreachable, "cannot be read: .*No space left"),
        ("cp", (1, b"", b"cp: cannot create regular file: Read-only file system"), NodeRefused, "Read-only"),
        ("cp", (1, b"", b"cp: cannot create: Permission denied"), NodeUnauthorized, "Permission denied"),
        ("stat", (1, b"", b"sudo: a password is required\n"), NodeUnauthorized, "a password"),
        ("sha256sum", (127, b"", b"sh: sha256sum: not found"), NodeUnreachable, "not found"),
        ("mv", (1, b"", b"mv: cannot move: Device or resource busy"), NodeRefused, "is as it was: .*busy"),
    ],
)
async def test_a_program_that_fails_is_told_and_leaves_the_file(conf, program, answer, kind, words):
    files = make_file_transport(conf, FaultyMachine(answers={program: answer}))
    with pytest.raises(kind, match=words):
        await (files.read(PLACE) if program == "dd" else files.stage(PLACE, NEW))
    assert conf.read_bytes() == OLD


async def test_a_full_disk_is_told_and_what_was_written_is_removed(conf):
    machine = FaultyMachine()
    machine.before = lambda program: machine.answers.update(dd=FULL) if program[0] == "cp" else None
    machine.answers = {}
    with pytest.raises(NodeRefused, match=r"is as it was: cannot write it aside: .*No space left") as caught:
        await make_file_transport(conf, machine).stage(PLACE, NEW)
    assert not caught.value.is_final, "there may be room later"
    assert names(conf) == ["sora.conf"]


async def test_a_missing_folder_is_told_and_never_taken_for_a_missing_file(conf):
    shutil.rmtree(conf.parent)
    with pytest.raises(NodeUnreachable, match=r"the folder of the file conf, .*, does not exist") as caught:
        await make_file_transport(conf).read(PLACE)
    assert "create it on the machine" in caught.value.remedy


async def test_a_failing_look_is_never_taken_for_a_missing_file(conf):
    files = make_file_transport(conf, FaultyMachine(answers={"stat": (1, b"", b"stat: Input/output error")}))
    with pytest.raises(NodeUnreachable, match="Input/output error"):
        await files.read(PLACE)


async def test_a_failing_sync_is_settled_by_reading(conf):
    files = make_file_transport(conf, FaultyMachine(answers={"sync": (1, b"", b"sync: Input/output error")}))
    await files.stage(PLACE, NEW)
    with pytest.raises(NodeUnreachable, match="was replaced, but sync failed") as caught:
        await files.switch(PLACE, before=BEFORE, after=AFTER)
    assert caught.value.is_lost
    assert (await files.read(PLACE)).content == NEW


async def test_an_entry_that_the_host_does_not_have_is_refused(conf):
    with pytest.raises(NodeRefused, match="the file shadow is not in `files` of the host configuration"):
        await make_file_transport(conf).read(FilePlace("shadow", "n"))


@pytest.mark.parametrize("node", ["../../etc/shadow", "-x", ".", "..", "a/b", "a\nb", "", "{node}"])
async def test_a_node_name_that_is_no_safe_part_of_a_path_is_refused(conf, node):
    files = make_file_transport(conf.with_name("{node}.conf"))
    with pytest.raises(NodeRefused, match="may not be a part of a path"):
        await files.read(FilePlace("conf", node))
    assert (await files.read(FilePlace("conf", "sora"))).content == OLD


async def test_content_is_never_an_argument(conf):
    machine = FaultyMachine()
    files = make_file_transport(conf, machine, check=["test", "-s", "{file}"])
    await files.stage(PLACE, NEW)
    await files.switch(PLACE, before=BEFORE, after=AFTER)
    await files.read(PLACE)
    told = " ".join(argument for program in machine.programs for argument in program)
    assert "cluster" not in told
    assert "no end" not in told


async def test_without_permission_the_reading_says_so(conf):
    conf.chmod(0)
    conf.parent.chmod(0o500)
    as_other = ("setpriv", "--reuid=65534", "--clear-groups") if os.getuid() == 0 else ()
    files = make_file_transport(conf, FaultyMachine(prefix=as_other))
    for call in (lambda: files.read(PLACE), lambda: files.stage(PLACE, NEW)):
        with pytest.raises(NodeUnauthorized, match="Permission denied") as caught:
            await call()
        assert "sudo: true" in caught.value.remedy
