"""Triggers of deployed workflows: messages on topics, ticks of schedules, calls of webhooks.

The rules are pure, the store's rows are changed inside the transaction of the control plane, and
the services receive messages and calls.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
