"""Addresses of nodes from elsewhere: the instances of clouds that cloud expressions mean.

A client asks one account of one cloud, and gives a complete list or an error. `resolver` asks the clients,
within bounds of time and number, and falls back to the last known list. Nothing here knows a product or a
fleet file.
"""
