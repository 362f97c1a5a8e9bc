"""One folder a product, each the whole of what the program knows of it, and the one table of them.

Belongs here: schemas, state machines, planners, wire clients and simulators of products.
Never here: anything that two products need to know of each other.
"""
