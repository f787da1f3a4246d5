"""Web dashboard of a fleet: an ordinary client of the control plane.

:mod:`~worker.view.dashboard.security` checks host, origin and session of each request.
:mod:`~worker.view.dashboard.pages` and :mod:`~worker.view.dashboard.actions` handle it.
:mod:`~worker.view.dashboard.hub` passes live changes to the listener of each browser.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
