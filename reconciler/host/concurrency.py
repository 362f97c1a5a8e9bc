"""Waiting for several things at once without one failure cutting off the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

T = TypeVar("T")


async def gather_all(jobs: Iterable[Awaitable[T]]) -> list[T]:
    """All results in the jobs' order; every job is waited for, then the first failure is raised."""
    results = await asyncio.gather(*jobs, return_exceptions=True)
    good: list[T] = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        good.append(result)
    return good
