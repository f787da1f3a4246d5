"""One reader per file format; :mod:`worker.workflow.load` tells them apart."""
