"""Trials: the real executor against a simulated fleet with faults, judged by what the nodes themselves saw.

Belongs here: scenario files, schedules drawn from a seed, the clock that leaps over waiting, and the
judgement. Never here: what a node answers or how a step is performed; those are the simulators and the
engine, and a trial runs both as they are.
"""
