"""What M2's nodes poll, download and report, see `ports.central_server`; pure."""
