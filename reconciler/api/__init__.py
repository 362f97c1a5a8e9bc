"""The pass as a library: `Reader` plans and reads the status, `Reconciler` applies."""
