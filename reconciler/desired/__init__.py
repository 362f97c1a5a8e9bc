"""From files to desired state: parsing with positions, the fleet file, overlays, secrets.

Belongs here: everything between the bytes of a revision and the input of a driver, pure.
Never here: a product's name, a node's answer, input or output.
"""
