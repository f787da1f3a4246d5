"""How messages travel between clients, the control plane and workers."""
