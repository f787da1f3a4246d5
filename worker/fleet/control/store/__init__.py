"""Where a control plane keeps what it knows: SQLite, or PostgreSQL for several of them."""
