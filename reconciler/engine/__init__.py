"""The pass: load, observe, plan, guard, apply, observe again, report; of no product.

Belongs here: order, concurrency, journal points and resuming. Never here: wire formats, rendering.
"""
