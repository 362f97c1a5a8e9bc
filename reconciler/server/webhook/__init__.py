"""Webhook calls: check of the signature, reading of the payload, the answer."""
