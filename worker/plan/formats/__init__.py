"""One reader per file format; :mod:`worker.plan.load` tells them apart."""
