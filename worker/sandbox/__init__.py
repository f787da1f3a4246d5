"""The sandbox: each run executes in a virtual machine or process of its own, with its own limits.

``parent`` is the end that runs in the caller's process: it has processes forked, keeps their time
and turns their frames into events. ``child`` is the end that runs in the zygote and in the
processes that the zygote forks, with the engines in ``javascript`` and ``python``. Neither end
imports the other: what both need stands in this package itself.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
