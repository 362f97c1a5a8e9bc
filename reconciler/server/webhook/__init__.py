"""Webhook calls: who sent them, what they say, and what is answered."""
