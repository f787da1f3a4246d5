"""Messages between clients, the control plane and workers, and the buses that carry them."""
