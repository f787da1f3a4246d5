"""The control plane: accepts work orders, leases runs to workers, records every status.

:mod:`~worker.fleet.control.lifecycle` holds the transitions of a run,
:mod:`~worker.fleet.control.queue` and :mod:`~worker.fleet.control.admission` the rules of the
queue. :mod:`~worker.fleet.control.message_processor` applies them to a batch of messages in one
transaction of :mod:`~worker.fleet.control.store`. :mod:`~worker.fleet.control.service`
connects that to a bus.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
