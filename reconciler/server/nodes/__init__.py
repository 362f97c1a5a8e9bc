"""The node server: what nodes of `deliver: poll` call; part of `reconcile watch`, in a thread of its own."""
