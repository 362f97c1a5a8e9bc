"""The user's own rules: JSON Schemas of the source tree, by which settings are judged.

Belongs here: reading and checking a schema, its references within the tree, and its judgement of a document.
Never here: the schemas that this program publishes (`core.json_schema`), or a rule of a product.
"""
