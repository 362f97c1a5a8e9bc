"""The pass as a library: `Reader` plans and tells status, `Reconciler` applies."""
