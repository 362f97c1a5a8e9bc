"""What unmanaged fields mean: what stays ours, what is kept and for whom, and the functions that hold it."""

# ruff: noqa: SLF001  (faults are planted where they hurt, in private functions too)

from __future__ import annotations

from typing import Any, Final

from reconciler.core import unmanaged
from reconciler.core.json_reader import JsonError
from reconciler.core.unmanaged import UnfillableSetting
from reconciler.drivers.m2 import unmanaged as m2
from reconciler.text.json_pointer import split_pointer

NAMES: Final = ((("h",), "n"), (("z",), "n"))


def unmanaged_fields() -> None:
    """Vital fields stay ours; each item keeps its own values, and nothing else changes."""

    def is_vital(text: str) -> bool:
        return m2.RULES.find_vital(split_pointer(text)) is not None

    vital = (
        "/meta",
        "/meta/x",
        "/env",
        "/env/management",
        "/env/management/api/port/x",
        "/env/management/roles",
    )
    vital += (
        "/*",
        "/*/*/roles",
        "/hosting",
        "/hosting/*",
        "/hosting/a",
        "/hosting/*/name",
        "/hosting/a/name/x",
    )
    assert all(map(is_vital, vital))
    assert not any(
        map(is_vital, ("/hosting/*/stats", "/env/x", "/env/management/x", "/hosting/a/stats/name"))
    )

    shallow = unmanaged.UnmanagedRules(vital=(unmanaged.VitalField(("h", "*"), "", is_deep=False),))
    assert shallow.find_vital(("h", "a"))
    assert shallow.find_vital(("h", "a", "b")) is None

    def fill(wanted: Any, shown: Any, text: str) -> Any:
        return unmanaged.fill_unmanaged(wanted, shown, [split_pointer(text)], NAMES)

    def strip(value: Any, text: str) -> Any:
        return unmanaged.strip_unmanaged(value, [split_pointer(text)], NAMES)

    shown = {
        "h": [{"n": "a", "s": 1}, {"n": "b", "s": {"x": 2}}],
        "e": {"u": 5, "v": 6},
        "l": [{"s": 1}, {"s": 2}],
    }
    assert strip(shown, "/h/*/s") == {**shown, "h": [{"n": "a"}, {"n": "b"}]}
    assert strip(shown, "/h/a/s") == {**shown, "h": [{"n": "a"}, shown["h"][1]]}
    assert strip(shown, "/h/*/s/x") == {**shown, "h": [shown["h"][0], {"n": "b"}]}
    assert strip(shown, "/e/*") == {key: shown[key] for key in ("h", "l")}
    assert strip(shown, "/e/u")["e"] == {"v": 6}
    assert strip(shown, "/h/*") == strip(shown, "/x/y") == strip(shown, "/h//s") == shown
    assert strip(shown, "/x/y") is strip(shown, "/e/zz") is strip(shown, "/l/*/zz") is shown
    wanted = {"h": [{"n": "b", "k": 1}, {"n": "c"}], "e": {"w": 7}, "l": [{}, {"k": 1}]}
    assert fill(wanted, shown, "/h/*/s")["h"] == [{"n": "b", "k": 1, "s": {"x": 2}}, {"n": "c"}]
    assert fill(wanted, shown, "/h/b/s")["h"] == [{"n": "b", "k": 1, "s": {"x": 2}}, {"n": "c"}]
    assert fill(wanted, shown, "/h/a/s") == wanted
    assert fill(wanted, shown, "/e/u")["e"] == {"w": 7, "u": 5}
    assert fill({}, shown, "/e/u") == {"e": {"u": 5}}
    assert fill({}, shown, "/e/u/x") == fill({}, shown, "/h/*/s") == {}
    assert fill({"e": 1}, shown, "/e/u") == {"e": 1}
    assert fill(wanted, shown, "/l/*/s")["l"] == [{"s": 1}, {"k": 1, "s": 2}]
    assert fill({"l": [{}]}, {"l": [{}, {}]}, "/l/*/s") == {"l": [{}]}
    assert fill({}, shown, "/e/*") == {"e": shown["e"]}
    assert fill({}, {"e": {"a": {"x": 1}, "b": {}}}, "/e/*/x") == {"e": {"a": {"x": 1}}}
    assert fill({"l": [{}, {}]}, {"l": [{"s": 1}, {}]}, "/l/*/s") == {"l": [{"s": 1}, {}]}
    both, other = {"x": {"l": [{}]}, "y": {"l": [{}]}}, {"x": {"l": [{"s": 1}]}, "y": {"l": [{}, {}]}}
    assert fill(both, other, "/*/l/*/s") == {"x": {"l": [{"s": 1}]}, "y": {"l": [{}]}}
    for have, want in (
        ({"l": [{"s": 1}]}, {"l": []}),
        ({"h": [{"n": "a", "s": 1}] * 2}, {"h": [{"n": "a"}]}),
    ):
        text = "/l/*/s" if "l" in have else "/h/*/s"
        try:
            fill(want, have, text)
        except UnfillableSetting:
            continue
        raise AssertionError(have)
    limits = m2.VALUE_LIMITS
    many = {str(number): 1 for number in range(limits.values)}
    for shows, fits in (
        ({"k": "x" * (limits.size - 4)}, True),
        ({"k": "x" * (limits.size - 3)}, False),
        ({"k": _nest(limits.depth - 1)}, True),
        ({"k": _nest(limits.depth)}, False),
        (many, True),
        ({**many, "one more": 1}, False),
    ):
        try:
            m2.check_values(shows, [("*",)])
        except JsonError:
            assert not fits, list(shows)[:1]
        else:
            assert fits, list(shows)[:1]


def _nest(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


ALIKE = {
    "_strip: always True: found is value": "one more copy of the same object",
    "_strip: not True": "the lists have one length",
    "_fill_items: not True": "the lists have one length",
}
HELD = (
    unmanaged.UnmanagedRules.find_vital,
    unmanaged._strip,
    unmanaged._is_chosen,
    unmanaged._fill,
    unmanaged._fill_items,
    m2.check_values,
)
