"""What is ours of a file becomes as desired, the rest survives, and a second rendering changes nothing."""

import json
import re

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from reconciler.core.secret import MASK, Secret, mask
from reconciler.documents.key_values import is_writable, parse_key_values
from reconciler.file_delivery.content import OwnedKeys, OwnedSpan, UnfitFile, WholeFile

BEGIN, END = "# begin reconciler", "# end reconciler"

ANY_TEXT = st.text(st.sampled_from("ab=# \n\r\t\ufeffé1"), max_size=60) | st.text(max_size=60)
KEYS = st.sampled_from(["cluster", "node_name", "api_port", "license_file", "password"])
SCALARS = st.booleans() | st.integers(-99, 99) | st.text(max_size=12).filter(is_writable)
LINE_ENDS = st.sampled_from(["\n", "\r\n"])


@st.composite
def conf_files(draw):
    """A file of keys, comments and empty lines, with either line end, and perhaps none at its end."""
    end = draw(LINE_ENDS)
    keys = draw(st.lists(KEYS | st.sampled_from(["other", "x.y"]), unique=True, max_size=6))
    lines = []
    for key in keys:
        lines += draw(st.lists(st.sampled_from(["", "# a comment", "\t# one more", "   "]), max_size=2))
        blank = draw(st.sampled_from(["", " ", "  "]))
        lines.append(
            f"{blank}{key}{blank}={blank}{draw(st.sampled_from(['true', '7', 'a b', 'wss://x']))}{blank}"
        )
    return (end.join(lines) + draw(st.sampled_from(["", end]))).encode()


def other_lines(content: bytes, keys) -> list[str]:
    """The lines that are none of some keys, without what ends the last one."""
    lines = re.findall(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+", content.decode())
    names = [re.match(r"\ufeff?[ \t]*([\w.\-]+)[ \t]*=", line) for line in lines]
    return [
        line.rstrip("\r\n") for line, name in zip(lines, names, strict=True) if not (name and name[1] in keys)
    ]


@given(conf_files(), st.dictionaries(KEYS, SCALARS | st.none(), max_size=5))
def test_keys_are_as_desired_and_every_other_line_survives(current, values):
    content = OwnedKeys(values)
    found = content.render(current)
    parsed, _ = parse_key_values("", found.decode())
    for key, value in values.items():
        assert (key not in parsed) if value is None else str(parsed[key]) == str(value)
    assert other_lines(found, values) == other_lines(current, values)
    assert OwnedKeys(values).render(found) == found
    assert (found == current) is (not content.find_changes(current, "conf"))
    assert content.find_changes(found, "conf") == ()
    line_ends = set(re.findall(r"\r\n|\n|\r", found.decode()))
    assert line_ends <= (set(re.findall(r"\r\n|\n|\r", current.decode())) or {"\n"})
    if (
        current.decode()
        and not current.endswith(b"\n")
        and {*values} <= {*parse_key_values("", current.decode())[0]}
    ):
        assert not found.endswith(b"\n") or None in values.values()


@given(ANY_TEXT, st.lists(st.text(st.sampled_from("ab =#\té"), max_size=8), max_size=4))
def test_a_span_is_as_desired_and_everything_around_it_survives(text, lines):
    assume(not {BEGIN, END} & {line.strip() for line in lines})
    current = text.encode("utf-8", "surrogatepass")
    body = "".join(f"{line}\n" for line in lines)
    content = OwnedSpan(BEGIN, END, (body,))
    try:
        found = content.render(current)
    except UnfitFile:
        assert any(0xD800 <= ord(mark) <= 0xDFFF for mark in text)
        return
    assert content.render(found) == found
    assert content.find_changes(found, "conf") == ()
    assert content.find_changes(current, "conf"), "the markers are missing"
    assert found.startswith(current)
    other = OwnedSpan(BEGIN, END, ("other\n",))
    replaced = other.render(found)
    assert content.render(replaced) == found
    if lines != ["other"]:
        assert content.find_changes(replaced, "conf")
    before, after = found.split(BEGIN.encode()), replaced.split(BEGIN.encode())
    assert before[0] == after[0]
    tail = "after\r\nthe span"
    longer = content.render(replaced + tail.encode())
    assert longer.endswith(END.encode() + found.rpartition(END.encode())[2] + tail.encode())


@given(
    st.binary(max_size=60),
    ANY_TEXT.filter(lambda text: not any(0xD800 <= ord(mark) <= 0xDFFF for mark in text)),
)
def test_a_whole_file_is_replaced_and_each_difference_shows(current, text):
    content = WholeFile((text,))
    found = content.render(current)
    assert found == text.encode()
    assert content.render(found) == found
    assert content.find_changes(found, "conf") == ()
    if current != found and current.decode("utf-8", "replace") != text:
        changes = content.find_changes(current, "conf")
        assert changes
        assert all(change.old != change.new for change in changes)


@given(
    st.lists(st.sampled_from(["a = 1\n", "key: ", "# x\n", '"password": "', "\n", "  license="]), max_size=6),
    st.text(st.sampled_from("0123456789abcdefXYZ"), min_size=8, max_size=20),
    st.text(st.sampled_from("0123456789abcdefXYZ"), min_size=8, max_size=20),
)
@settings(max_examples=300)
def test_no_secret_of_either_side_shows(pieces, old, new):
    assume(new not in old and old not in new)

    def parts(secret):
        return tuple(
            part for piece in pieces for part in ((piece,) if piece.endswith("\n") else (piece, secret, "\n"))
        )

    wanted = WholeFile(parts(Secret(new, "${env:NEW}")))
    current = WholeFile(parts(Secret(old))).render(None)
    shown = [mask(change.old) for change in wanted.find_changes(current, "c")] + [
        mask(change.new) for change in wanted.find_changes(current, "c")
    ]
    told = json.dumps([shown, wanted.redact(current), wanted.redact(wanted.render(None))])
    assert old not in told
    assert new not in told
    assert wanted.redact(current) == wanted.redact(wanted.render(None)), (
        "the same on a host without the secret"
    )


@given(conf_files(), st.text(st.sampled_from("0123456789abc"), min_size=8, max_size=12))
def test_no_secret_of_a_key_shows(current, new):
    text = current.decode().replace("wss://x", "old-secret-value")
    content = OwnedKeys({"node_name": Secret(new, "${env:N}"), "password": "plain-password", "api_port": 7})
    changes = content.find_changes(text.encode(), "conf")
    told = json.dumps(
        [
            mask([one.old for one in changes]),
            mask([one.new for one in changes]),
            content.redact(text.encode()),
        ]
    )
    assert new not in told
    assert "plain-password" not in told
    shown, _ = parse_key_values("", text)
    for key in ("node_name", "password"):
        assert (
            shown.get(key) != "old-secret-value"
            or "old-secret-value" not in told
            or shown.get("api_port") == "old-secret-value"
        )


def test_a_secret_that_is_not_known_here_is_taken_for_what_the_file_has():
    missing = Secret("${env:L}", "${env:L}", "not set")
    keys = OwnedKeys({"license": missing, "cluster": True})
    assert (
        keys.render(b"license = known-there\ncluster = true\n") == b"license = known-there\ncluster = true\n"
    )
    assert keys.find_changes(b"license = known-there\ncluster = true\n", "c") == ()
    assert keys.missing == {"${env:L}": "not set"}
    assert keys.find_changes(b"cluster = true\n", "c")
    whole = WholeFile(("license = ", missing, "\ncluster = true\n"))
    current = b"license = known-there\ncluster = true\n"
    assert whole.render(current) == current
    assert whole.render(b"license = known-there\ncluster = false\n") != current
    assert MASK in str(whole.redact(current))
