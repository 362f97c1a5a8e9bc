"""What outlives a run: the journal, the history, facts about nodes, undelivered messages.

A new kind of store is a folder next to `sqlite`, a scheme in `factory`, and a line in the list of stores of
the conformance tests.

Belongs here: durable records and their locks. Never here: what the records lead to.
"""
