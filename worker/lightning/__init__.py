"""Worker of OpenFn Lightning: claims its runs over a websocket, executes and reports them.

``serializer``, ``claim_loop``, ``run_plan``, ``run_reports``, ``delivery`` and ``error_words``
decide over frozen data. ``channels`` holds the connection, ``run_session`` one run, ``run_store``
the events on disk, and ``lightning_worker`` all of them together.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
