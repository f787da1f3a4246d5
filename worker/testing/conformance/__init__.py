"""Conformance cases of the protocol between clients, control planes and workers.

``control-plane.yaml`` and ``worker.yaml`` have the cases as data. Each is a conversation with the
part under test, whose peers are scripted; what a case sends and expects does not depend on the
language that the part is written in.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
