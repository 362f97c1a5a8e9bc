"""The watch: a long-running process that runs the same pass whenever something asks for it.

Belongs here: triggers, the webhook, health, metrics, logs. Never here: a second way to reconcile.
"""
