"""Messages about the outcomes of steps in M2's message format v1, and their delivery.

Belongs here: making, sending and receiving messages. Never here: a decision about nodes.
"""
