"""Hosts for HTTP requests of adaptors: live, stubbed, recording and replaying."""
