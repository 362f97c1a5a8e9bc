"""The watch: a long-running process that runs the same pass at every trigger.

Belongs here: loops, triggers, the webhook, health, metrics, logs. Never here: a second way to reconcile.
"""
