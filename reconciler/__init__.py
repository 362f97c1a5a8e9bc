"""A declarative, GitOps-style configuration reconciler for fleets of clustered nodes."""

__version__ = "0.1.0"
