"""The text of a comment: its mark, its bounds, and what is open where it is cut."""

from reconciler.forges.forge import ForgeComment
from reconciler.forges.sticky_comment import (
    PLAIN_MARK,
    make_comment,
    make_comment_mark,
    select_own_comments,
)


def count_units(text):
    return len(text.encode("utf-16-le")) // 2


def test_wherever_a_comment_is_cut_it_fits_and_closes_what_is_open():
    part = "<details>\n<summary>n</summary>\n\n````diff\n- 😀 old\n```\n+ new\n````\n\n</details>\n"
    text = f"{PLAIN_MARK}\n### Plan\n\n<details>\n\n{part * 30}\n</details>\n"
    for limit in range(400, 700):
        body = make_comment(text, PLAIN_MARK, limit)
        assert count_units(body) <= limit
        assert body.startswith(f"{PLAIN_MARK}\n### Plan\n")
        assert "The rest is left out" in body
        assert body.count("<details>") == body.count("</details>")
        assert body.count("````") % 2 == 0


def test_a_comment_that_fits_is_whole():
    assert make_comment("a\r\nb\n", PLAIN_MARK, 1_000) == f"{PLAIN_MARK}\na\nb\n"
    mark = make_comment_mark("north/a.b-c_d")
    assert make_comment(f"{PLAIN_MARK}\nplan", mark, 1_000) == f"{mark}\nplan"
    assert make_comment("a\x00b\x1b[2J\ud800", PLAIN_MARK, 1_000).isprintable() is False
    assert not {"\x00", "\x1b", "\ud800"} & set(make_comment("a\x00b\x1b[2J\ud800", PLAIN_MARK, 1_000))


def test_only_the_first_line_and_the_author_tell_the_own_comment():
    comments = [
        ForgeComment(5, "bot", f"{PLAIN_MARK}\r\nnew"),
        ForgeComment(2, "bot", PLAIN_MARK),
        ForgeComment(1, "kim", f"{PLAIN_MARK}\n"),
        ForgeComment(3, "bot", f" {PLAIN_MARK}\n"),
        ForgeComment(4, "bot", f"{make_comment_mark('x')}\n"),
        ForgeComment(6, "Bot", PLAIN_MARK),
    ]
    assert [one.id for one in select_own_comments(comments, "bot", PLAIN_MARK)] == [2, 5]
