"""``make bench``: the figures of this machine, all from one run."""
