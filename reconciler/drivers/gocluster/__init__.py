"""The Go `cluster` package: named nodes in a full mesh, a quorum in each node's own view, an optional API."""
