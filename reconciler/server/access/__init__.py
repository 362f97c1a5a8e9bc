"""Who may: identifies who sends a request to the watch's endpoints, and decides what they may do.

Belongs here: identities and roles, tokens, logins, sessions, the headers that protect pages in a browser.
Never here: what an act does, and how a page looks.
"""
