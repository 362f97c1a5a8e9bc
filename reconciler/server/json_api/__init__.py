"""The JSON API of a watch, below `/api/v1`."""
