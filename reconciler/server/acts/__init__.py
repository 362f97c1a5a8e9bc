"""What people order of a running watch: by control socket, page or API, through one service."""
