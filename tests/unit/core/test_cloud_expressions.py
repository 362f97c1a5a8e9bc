import pytest

from reconciler.core.cloud_expressions import (
    InvalidExpression,
    TagCondition,
    parse_expression,
    parse_tags,
)


@pytest.mark.parametrize(
    ("text", "tags", "rest"),
    [
        ("aws:vm:tag=edge", [("edge", "")], ""),
        ("#aws:vm:tag=edge", [("edge", "")], ""),
        ("#oci:vm:tag=edge#:9900", [("edge", "")], ":9900"),
        ("#oci:vm:tag=edge#", [("edge", "")], ""),
        ("aws:vm:tag=type=parent;type=child;", [("type", "child"), ("type", "parent")], ""),
        ("aws:vip:tag=type=;", [("type", "")], ""),
        ("aws:vm:tag=aws:autoscaling:groupName=m2-edge", [("aws:autoscaling:groupName", "m2-edge")], ""),
    ],
)
def test_an_expression_in_each_of_its_forms(text, tags, rest):
    found = parse_expression(text)
    assert [(one.key, one.value) for one in found.tags] == tags
    assert found.rest == rest
    assert parse_expression(str(found)).tags == found.tags


@pytest.mark.parametrize(
    "text",
    [
        "",
        "aws",
        "aws:vm",
        "aws:vm:tag=",
        "gcp:vm:tag=a",
        "AWS:vm:tag=a",
        "aws:host:tag=a",
        "aws:vm:tag=a b",
        "aws:vm:tag=a#:9900",
        "#aws:vm:tag=a#:0",
        "#aws:vm:tag=a#:65536",
        "#aws:vm:tag=a#9900",
        "#aws:vm:tag=a##",
        "aws:vm:tag==value;",
        "aws:vm:tag=a=b;;c=d",
        "aws:vm:tag=a=b;c;",
        "http://#aws:vm:tag=a#",
        "aws:vm:tag=" + "k" * 2000,
        "aws:vm:tag=a\x1b[2J",
        "aws:vm:tag=a\u202eb",
        "#aws:vm:tag=a\x00#:9900",
    ],
)
def test_what_is_no_expression_is_refused_and_quoted(text):
    with pytest.raises(InvalidExpression) as caught:
        parse_expression(text)
    assert caught.value.message
    assert len(caught.value.message) < 200
    assert caught.value.remedy


def test_too_many_tags_are_refused():
    with pytest.raises(InvalidExpression, match="51 tags"):
        parse_tags("".join(f"k{number}=v;" for number in range(51)))


def test_one_of_the_tags_is_enough_and_is_compared_exactly():
    expression = parse_expression("aws:vm:tag=type=parent;site=;")
    assert expression.matches({"type": "parent"})
    assert expression.matches({"site": "seoul"})
    assert expression.matches({"site": ""})
    assert not expression.matches({"type": "child", "Site": "x"})
    assert not expression.matches({"type": "Parent"})
    assert not expression.matches({})


def test_the_order_of_tags_means_nothing():
    assert parse_expression("aws:vm:tag=a=1;b=2;") == parse_expression("aws:vm:tag=b=2;a=1;a=1;")
    assert parse_tags("a=;") == (TagCondition("a"),)


def test_the_rest_is_put_behind_each_address():
    assert parse_expression("#aws:vm:tag=a#:9900").make_address("10.0.0.1") == "10.0.0.1:9900"
    assert parse_expression("#aws:vm:tag=a#:9900").make_address("fd00::1") == "[fd00::1]:9900"
