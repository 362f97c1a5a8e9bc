"""Beacons in the conformance suite."""

from typing import Any

from products.life import Life

from reconciler.simulation.addresses import find_free_addresses


def life() -> Life:
    nodes = [
        {"name": f"light-{number}", "address": str(at)} for number, at in enumerate(find_free_addresses(3), 1)
    ]

    def fleet(pattern: str) -> dict[str, Any]:
        timeouts = {"read": 2, "settle": 2}
        cluster = {"name": "it", "kind": "beacon", "pattern": pattern, "nodes": nodes, "timeouts": timeouts}
        return {"fleet.json": {"clusters": [cluster]}}

    return Life(fleet("slow"), fleet("slow"), fleet("fast"), lambda world, node: world.patterns[node])
