"""Live state of a fleet, from notifications and queries, for ``worker watch`` and the dashboard."""
