"""Sizes of MQTT packets."""

from worker.fleet.messaging.content import MIN_MESSAGE_BYTES

MAX_PACKET_BYTES = 128 * 1024 * 1024
PACKET_ENVELOPE_BYTES = 4096
"""The most that a packet has around a message: topics, properties, the envelope of a CloudEvent."""
MIN_PACKET_BYTES = MIN_MESSAGE_BYTES + PACKET_ENVELOPE_BYTES
