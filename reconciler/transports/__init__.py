"""The transports to nodes: HTTP and commands, with limits of time, size and number, and their errors."""
