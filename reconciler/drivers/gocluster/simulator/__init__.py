"""A Go cluster that exists only in memory: the library's answers, over `machine`."""
