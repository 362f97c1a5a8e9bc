"""A step of no product, for tests of what treats all steps alike."""

from dataclasses import replace

from reconciler.core.arguments import RawArguments
from reconciler.core.plan import Effect, Inverse, Risk, Step


def make_step(node="a", *, cluster="edge", action="upload", **more):
    """A harmless step of a node; `more` are fields of `Step` that differ."""
    made = Step(
        id=f"{cluster}/{node}/{action}",
        cluster=cluster,
        node=node,
        action=action,
        arguments=RawArguments(),
        reason="differs",
        effect=Effect.HOT,
        risk=Risk.LOW,
        risk_reason="",
        needs="",
        inverse=Inverse("set it back", "set"),
    )
    return replace(made, **more)
