"""Trials: the real executor against a simulated fleet with faults, judged by the record of the nodes.

Here: scenario files, schedules drawn from a seed, the clock that skips waiting, and the judge. Not here: what
a node answers (simulators) and how a step is performed (rollout); a trial runs both unchanged.
"""
