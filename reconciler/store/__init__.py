"""What outlives a run: the journal, the history, what was learnt of nodes, undelivered messages.

Belongs here: durable records and their locks. Never here: what the records lead to.
"""
