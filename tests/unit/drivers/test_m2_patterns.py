"""The patterns of addresses in a schema take what the program takes, save for what they cannot say."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.endpoint import InvalidAddress, parse_endpoint
from reconciler.drivers.m2.address_range import parse_address_range
from reconciler.drivers.m2.setting import check, patterns

PIECES = st.sampled_from(
    [
        *(
            "0",
            "1",
            "10",
            "255",
            "256",
            "01",
            ".",
            "-",
            "/",
            ":",
            "::",
            "[",
            "]",
            "*",
            "%",
            " ",
            "#",
            "24",
            "33",
        ),
        *("255.255.0.0", "0.0.255.255", "10.0.0.0", "192.168.1.1", "a", "host", "_x", "65535", "65536"),
        *("ä", "\u212a", "\n", "http://", "https://", "ftp://", "0x", "0X7f"),
    ]
)
TEXTS = st.lists(PIECES, max_size=6).map("".join)


def fits(pattern, text):
    return bool(re.search(pattern.removesuffix("$") + r"\Z", text))


def address_of_list(text):
    try:
        parse_address_range(text)
    except InvalidAddress as error:
        return str(error)
    return ""


def reached(text):
    try:
        parse_endpoint(text)
    except InvalidAddress as error:
        return str(error)
    return ""


def member(text):
    return "; ".join(fault.message for fault in check._check_member((), text) if fault.severity == "error")


def listen(text):
    document = {"env": {"management": {"cluster": {"stats": {"listen": text}}}}}
    return "; ".join(fault.message for fault in check._check_stats(document))


@pytest.mark.parametrize(
    ("pattern", "judge", "relations"),
    [
        (patterns.ADDR, address_of_list, ("runs backwards", "is not the first address of its network")),
        (patterns.MEMBER, member, ()),
        (patterns.ENDPOINT, reached, ()),
        (patterns.LISTEN, listen, ()),
    ],
)
@given(text=TEXTS)
def test_pattern_and_program_agree(pattern, judge, relations, text):
    wrong = judge(text)
    if not wrong:
        assert fits(pattern, text)
    elif fits(pattern, text):
        assert text.count(":") > 1 or any(words in wrong for words in relations)


@pytest.mark.parametrize("pattern", [patterns.ADDR, patterns.MEMBER, patterns.LISTEN])
def test_a_reference_to_a_secret_has_no_form_yet(pattern):
    assert fits(pattern, "${env:OFFICE}")
    assert not fits(pattern, "${OFFICE}")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("setting", True),
        ("setting;api;", True),
        ("api;setting", True),
        ("", True),
        ("setting,api", False),
        ("mail", False),
        ("settingapi", False),
    ],
)
def test_joined_types(text, wanted):
    assert fits(patterns.make_types_pattern(["setting", "api"]), text) is wanted
