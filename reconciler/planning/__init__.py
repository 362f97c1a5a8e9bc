"""The reading half of the pass: desired state, observations, plan, guards and status; it cannot write."""
