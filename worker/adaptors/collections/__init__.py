"""Collections: keys and values that outlive a run, in a local store or in OpenFn's service."""
