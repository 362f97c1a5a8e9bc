"""M2 for the model checker: nodes as small frozen data, their faults, and what must never happen; pure."""
