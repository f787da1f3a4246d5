"""Seeded fuzzer of everything that comes in: it changes valid inputs by their structure.

``python -m tools.fuzz --seconds 600 --seed 1 --target workflow``. Each target reads one kind of
input. An input is a list of parts, such as the lines of a journal or the messages of a batch; each
part is JSON data, in which a change can nest, repeat, drop, swap and respell values. Inputs that
reach new branches are changed further.
"""
