"""The dashboard: a web page that is a client of the control plane like any other.

:mod:`~worker.view.dashboard.security` checks a request's host, origin and session. Pages of
:mod:`~worker.view.dashboard.pages` and actions of :mod:`~worker.view.dashboard.actions` answer it.
:mod:`~worker.view.dashboard.hub` passes live changes to each browser's listener.
"""
