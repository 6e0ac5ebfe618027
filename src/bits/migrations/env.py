"""Alembic's entry: run the migrations on the connection that bits.migrate hands over."""

from alembic import context

from bits.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite cannot alter most things in place
)
context.run_migrations()
