"""A cluster of Collaboration Servers that exists only in memory, with Redis and nginx, over `machine`."""
