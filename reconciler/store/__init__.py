"""What outlives a run: the journal, the history, what was learnt of nodes, undelivered messages.

A new kind of store is a folder beside `sqlite`, a scheme in `factory`, and a line in the kinds of stores that
the conformance tests run against.

Belongs here: durable records and their locks. Never here: what the records lead to.
"""
