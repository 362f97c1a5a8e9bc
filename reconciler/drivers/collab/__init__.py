"""The Collaboration Server with Redis and an nginx load balancer."""
