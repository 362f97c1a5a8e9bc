"""When a call is sent again, and where the next page of a list is."""

import pytest

from reconciler.errors import ForgeError, ForgeUnreachable
from reconciler.forges.api_client import LIMIT_PAUSE, find_next_query, find_wait
from reconciler.forges.connection import repeat_until_done

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("answer", "wait"),
    [
        ((400, {}, ""), None),
        ((403, {}, "Resource not accessible by integration"), None),
        ((404, {}, ""), None),
        ((422, {}, ""), None),
        ((403, {}, "You have exceeded a secondary rate limit"), LIMIT_PAUSE),
        ((403, {"retry-after": "30"}, ""), 30.0),
        ((403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": f"{NOW + 90:.0f}"}, ""), 90.0),
        ((403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "soon"}, ""), LIMIT_PAUSE),
        ((429, {"retry-after": "Fri, 15 Jan 2027 08:00:20 GMT"}, ""), 20.0),
        ((429, {"retry-after": "-5"}, ""), LIMIT_PAUSE),
        ((500, {}, ""), 0.0),
        ((503, {"retry-after": "5"}, ""), 5.0),
        ((408, {}, ""), 0.0),
    ],
    ids=range(13),
)
def test_what_can_succeed_later_is_told_from_what_is_refused(answer, wait):
    assert find_wait(*answer, NOW) == wait


@pytest.mark.parametrize(
    ("link", "query"),
    [
        ("", None),
        ('<https://a/x?page=1>; rel="prev"', None),
        ('<https://a/x?page=1>; rel="prev", <https://b/y?page=3&per_page=20>; rel="next"', "3"),
        ("<https://a/x?page=2>; rel=next", "2"),
        ('<https://a/x?page=2>; title="a, b"; rel="last next"', "2"),
        ('<https://a/x?page=2>; rel="nextish"', None),
        ("<" * 100_000, None),
        ("<https://a/x?page=2>;" * 5_000, None),
    ],
    ids=range(8),
)
def test_the_next_page_is_told_by_the_link_header(link, query):
    found = find_next_query(link)
    assert (found["page"] if found else None) == query


async def test_only_what_may_succeed_later_is_repeated():
    calls, waits = [], []

    async def wait(seconds):
        waits.append(seconds)

    async def perform():
        calls.append(len(calls))
        if len(calls) < 3:
            raise ForgeUnreachable("away", wait=7.0 if len(calls) == 1 else 0.0)
        return "done"

    assert await repeat_until_done(perform, seconds=60.0, wait=wait) == "done"
    assert waits == [7.0, 2.0]

    async def refuse():
        calls.append("refused")
        raise ForgeError("no")

    with pytest.raises(ForgeError, match="no"):
        await repeat_until_done(refuse, seconds=60.0, wait=wait)
    assert calls.count("refused") == 1
