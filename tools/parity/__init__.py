"""Programs that run here and on OpenFn's own runtime, and what differs."""
