"""The dashboard: a web page over the control plane, which is asked and heard as by any client.

A request comes in through :mod:`worker.dashboard.gate` (which host, which origin, whose session),
is answered by a page of :mod:`worker.dashboard.pages` or a deed of :mod:`worker.dashboard.deeds`,
and what happens meanwhile goes from :mod:`worker.dashboard.hub` to each browser's listener.
"""
