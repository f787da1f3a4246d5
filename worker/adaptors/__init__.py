"""Real adaptors: from npm, bundled for the sandbox, kept in a cache of the user's own."""
