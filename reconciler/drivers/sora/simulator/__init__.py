"""A Sora cluster that exists only in memory: real answers in the product's wire format, over `machine`."""
