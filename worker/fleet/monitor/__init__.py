"""What a fleet is doing now: what is heard of it, what is asked of it, and both together.

``worker watch`` and the dashboard show it; neither knows more than a client of the control plane.
"""
