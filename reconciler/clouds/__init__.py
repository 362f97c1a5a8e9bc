"""What requests to clouds need: the credentials of an account of the host configuration, and signatures.

Here belongs what sources, inventories and checks share. Nothing here knows a product, or what is asked for.
"""
