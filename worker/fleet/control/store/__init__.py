"""The database of a control plane: SQLite, or PostgreSQL for several control planes."""
