"""Collaboration Servers for the model checker: the cluster as small frozen data, faults and rules; pure."""
