"""The signers that this host trusts, and whether a revision is signed by one."""
