"""Messages about what happened to nodes, in the products' versioned format, and where they go.

Belongs here: building messages and delivering them. Never here: deciding what happens.
"""
