"""Adaptors from npm: bundled for the sandbox and kept in a cache of the user."""
