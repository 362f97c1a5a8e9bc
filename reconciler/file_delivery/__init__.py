"""Files of nodes, delivered in journalled steps: what of a file is desired, and how it gets there.

A driver describes the content with `content`, reads with `reading`, and puts the steps of `steps` before its
own step that reloads or restarts. Every product uses the same steps. `node_starts` reads when a node was
started last, which shows that a restart has brought something in.
"""
