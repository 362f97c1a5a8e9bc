"""Behaviours that the product's documents leave open, each a named option of the state machine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class RedisLoss(StrEnum):
    """What a server that works with Redis does once Redis is there again."""

    RESUME = "resume"
    """It connects again by itself."""

    STAY_PAUSED = "stay-paused"
    """It stays paused until it is restarted."""

    EXIT = "exit"
    """Its process ends as soon as it loses Redis; a start brings it back."""


class NeedlessPassword(StrEnum):
    """Whether a server whose URL has a password works with a Redis that demands none."""

    ACCEPT = "accept"
    REFUSE = "refuse"
    """It takes the error that Redis answers to AUTH for a failure."""


class StartShown(StrEnum):
    """By what of /status a restart can be seen."""

    BOTH = "both"
    PID = "pid"
    UP_SINCE = "up-since"
    """As in a container, whose main process always has the same number."""


class PausedStatus(StrEnum):
    """The status of the answer with which a paused server shows that it is paused."""

    OK = "200"
    UNAVAILABLE = "503"


class ServiceOrder(StrEnum):
    """In which order a reason lists the services."""

    DATABASE_FIRST = "database-first"
    REDIS_FIRST = "redis-first"


class InvalidReload(StrEnum):
    """What the reload command does with a file that nginx refuses; the former file stays in force."""

    REFUSE = "refuse"
    """It fails, as `nginx -s reload` does."""

    SILENT = "silent"
    """It succeeds, as a signal to the process does."""


@dataclass(frozen=True, slots=True)
class Choices:
    """Which of the possible behaviours a cluster has, where the product's documents leave it open.

    Args:
        healthy_state: the `state` of a server that is not paused.
        start_readings: how many readings a started server does not answer.
        paused_readings: how many readings a server shows that it is paused, after it was started and after a
            service has come back.
        start_shown: what of its status is another one after a restart.
        redis_loss: what a server does after it has lost Redis.
        needless_password: whether a password harms where Redis demands none.
        paused_status: status of the answer of a paused server.
        service_order: order of the services in a reason.
        paused_reason: whether a paused server that misses no service gives a reason.
        invalid_reload: what the reload command does with an invalid file.
    """

    healthy_state: str = "running"
    start_readings: int = 1
    paused_readings: int = 1
    start_shown: StartShown = StartShown.BOTH
    redis_loss: RedisLoss = RedisLoss.RESUME
    needless_password: NeedlessPassword = NeedlessPassword.ACCEPT
    paused_status: PausedStatus = PausedStatus.OK
    service_order: ServiceOrder = ServiceOrder.DATABASE_FIRST
    paused_reason: bool = True
    invalid_reload: InvalidReload = InvalidReload.REFUSE


DEFAULTS: Final = Choices()
"""The behaviour of the simulator by default."""
