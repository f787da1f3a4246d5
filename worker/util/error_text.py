"""Texts of errors for messages."""

from __future__ import annotations


def reason_of(error: BaseException) -> str:
    """Return why something failed: the system's words, else the error's text, else its name."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
