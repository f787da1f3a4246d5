"""What performs the calls of adaptors: live, from a script, or from a recording."""
