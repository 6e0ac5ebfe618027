"""Notes and announcements, who is listed, and an order by time."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

OF_PEOPLE = sa.text("kind IN ('enter', 'leave', 'seen', 'gone')")


def upgrade() -> None:
    op.add_column("event", sa.Column("note", sa.Text()))
    op.add_column("event", sa.Column("begins", sa.DateTime(timezone=True)))
    op.add_column("event", sa.Column("until", sa.DateTime(timezone=True)))
    op.create_index("event_by_time", "event", ["kind", "at", "seq"])
    op.drop_index("event_of_people", "event")
    op.drop_index("event_by_source", "event")
    op.create_index("event_by_source", "event", ["source", "kind", "at", "seq"])
    op.add_column("user", sa.Column("listed", sa.Boolean()))
    op.execute(sa.text('UPDATE "user" SET listed = :no').bindparams(no=False))
    with op.batch_alter_table("user") as table:
        table.alter_column("listed", existing_type=sa.Boolean(), nullable=False)


def downgrade() -> None:
    with op.batch_alter_table("user") as table:
        table.drop_column("listed")
    op.drop_index("event_by_source", "event")
    op.create_index("event_by_source", "event", ["source", "at"])
    op.create_index(
        "event_of_people", "event", ["kind", "at", "seq"], sqlite_where=OF_PEOPLE, postgresql_where=OF_PEOPLE
    )
    op.drop_index("event_by_time", "event")
    for column in ("until", "begins", "note"):
        op.drop_column("event", column)
