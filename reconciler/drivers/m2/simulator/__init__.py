"""M2 nodes that exist only in memory: real answers in the product's wire format, over `machine`.

Belongs here: requests and answers of M2's management API. Never here: sockets, which the host of all
simulated products opens, and rules, which `machine` and `access` hold.
"""

from reconciler.drivers.m2.choices import (
    AllowListMatch,
    BackupBehaviour,
    Choices,
    PortChange,
    SettingAnswer,
    UnlistedAnswer,
    VacantAnswer,
)
from reconciler.drivers.m2.simulator.wire import CLOSED, Reply
from reconciler.drivers.m2.simulator.world import M2World, make_factory_setting

__all__ = [
    "CLOSED",
    "AllowListMatch",
    "BackupBehaviour",
    "Choices",
    "M2World",
    "PortChange",
    "Reply",
    "SettingAnswer",
    "UnlistedAnswer",
    "VacantAnswer",
    "make_factory_setting",
]
