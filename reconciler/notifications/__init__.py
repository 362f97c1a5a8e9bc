"""Messages to people: who is told what, in which words, and their delivery by Apprise.

Belongs here: choosing, grouping, wording and sending notices. Never here: what is worth telling, which the
watch finds out, and the outbox, which the store keeps.
"""
