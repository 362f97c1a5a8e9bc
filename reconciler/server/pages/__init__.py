"""The dashboard: pages made on the server from the views, and the few files that they need.

Belongs here: HTML, its style and script, paths of pages. Never here: what is shown and in which words
(`views`), or who may look (`access`). No page needs its script, and nothing is fetched from elsewhere.
"""
