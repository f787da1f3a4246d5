"""The environment of Alembic: it uses the connection of the store."""

from __future__ import annotations

from alembic import context

from worker.fleet.control.store.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
