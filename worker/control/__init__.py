"""The control plane: work orders in, runs leased to workers, every status told, nothing lost.

:mod:`worker.control.lifecycle` holds the rules of a run, :mod:`worker.control.queue` and
:mod:`worker.control.admission` those of the queue, :mod:`worker.control.plane` applies them to a
batch of messages in one transaction of :mod:`worker.control.store`, and
:mod:`worker.control.service` connects that to a bus.
"""
