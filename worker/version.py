"""The version, in one place that costs nothing to read."""

VERSION = "0.1.0"

# Old names of commands, options and keys of case files work until this version.
REMOVED_IN = "0.2.0"
