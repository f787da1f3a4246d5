"""Mutants of the code: changes of single expressions and statements that a test should notice.

``python -m tools.mutants --seconds 1200 --seed 1 --module queue``. Each mutant of a module is run
against the everyday tests of that module, in a copy of the tree. Results are kept, so that only
mutants of what has changed since are run again.
"""
