"""M2 nodes that exist only in memory: real answers in the product's wire format, over `machine`.

Belongs here: requests and answers of M2's management API. Never here: sockets, which the host of all
simulated products opens, and rules, which `machine` and `access` hold.
"""
