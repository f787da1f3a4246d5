"""The end of the sandbox that runs in the caller's process: pool, run processes, host calls."""
