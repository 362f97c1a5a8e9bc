"""Changed lines of a file are shown like a unified difference: bounded, on one line each, secrets masked."""

from reconciler.core.diff import Change, Op
from reconciler.core.secret import Secret
from reconciler.descriptions.changes import format_change
from reconciler.file_delivery.content import OwnedKeys, WholeFile


def lines(change):
    return [f"{line.mark} {line.text}" for line in format_change(change)]


def test_lines_stand_below_the_name_of_the_file_and_their_number():
    content = WholeFile(("server {\n\tlisten 8080;\n}\n",))
    (change,) = content.find_changes(b"server {\n\tlisten 80;\n\troot /x;\n}\n", "nginx")
    assert lines(change) == [
        "~ nginx, line 2",
        "-       listen 80;",
        "-       root /x;",
        "+       listen 8080;",
    ]


def test_added_and_removed_lines_have_one_mark():
    content = WholeFile(("a\nb\n",))
    assert lines(content.find_changes(b"a\n", "c")[0]) == ["+ c, line 2", "+   b"]
    assert lines(content.find_changes(b"a\nb\nx\n", "c")[0]) == ["- c, line 3", "-   x"]
    assert lines(content.find_changes(None, "c")[0]) == ["+ c, line 1", "+   a", "+   b"]


def test_hostile_lines_are_bounded_and_move_no_cursor():
    change = Change("/conf/lines/7", Op.REMOVE, old=["\x1b[2J" + "x" * 900, *["y"] * 40])
    shown = lines(change)
    assert shown[0] == "- conf, line 7"
    assert shown[1].startswith("-   \\x1b[2Jxxx")
    assert shown[-1] == "-   … and 29 more lines"
    assert max(map(len, shown)) < 360


def test_a_secret_that_alone_changes_is_named_and_not_shown():
    content = WholeFile(("license = ", Secret("new-license", "${env:L}"), "\n"))
    (change,) = content.find_changes(b"license = ${env:L}\n", "conf")
    assert "new-license" not in str(lines(change))
    keys = OwnedKeys({"license": Secret("new-license")})
    (change,) = keys.find_changes(b"license = old-license\n", "conf")
    assert lines(change) == ["~ /conf/license: a secret in it changes (not shown)"]


def test_line_ends_that_alone_differ_are_told():
    (change,) = WholeFile(("a\nb",)).find_changes(b"a\nb\r\n", "c")
    assert lines(change) == ["~ c, line 2", "-   b (ends with CR LF)", "+   b (without a line end)"]
