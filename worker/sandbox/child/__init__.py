"""The end of the sandbox that runs in forked processes: zygote, runs, condition server."""
