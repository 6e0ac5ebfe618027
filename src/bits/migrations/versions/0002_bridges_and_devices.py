"""Numbers of bridges, members' numbers and devices, comings and goings, and what comes late."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

NUMBERED = sa.text("bridge IS NOT NULL")
OF_DEVICES = sa.text("kind IN ('seen', 'gone')")
OF_PEOPLE = sa.text("kind IN ('enter', 'leave', 'seen', 'gone')")


def upgrade() -> None:
    op.add_column("event", sa.Column("bridge", sa.String(32)))
    op.add_column("event", sa.Column("number", sa.BigInteger()))
    op.create_index(
        "event_by_number", "event", ["bridge", "number"], unique=True, sqlite_where=NUMBERED, postgresql_where=NUMBERED
    )
    op.create_index("event_by_digest", "event", ["text", "seq"], sqlite_where=OF_DEVICES, postgresql_where=OF_DEVICES)
    op.create_index(
        "event_of_people", "event", ["kind", "at", "seq"], sqlite_where=OF_PEOPLE, postgresql_where=OF_PEOPLE
    )
    # What comes late has a higher seq than what happened after it: "last heard" goes by time.
    op.drop_index("event_by_source", "event")
    op.create_index("event_by_source", "event", ["source", "at"])
    op.add_column("user", sa.Column("number", sa.Integer()))
    op.execute(sa.text('UPDATE "user" SET number = id'))
    with op.batch_alter_table("user") as table:
        table.alter_column("number", existing_type=sa.Integer(), nullable=False)
        table.create_unique_constraint("user_number", ["number"])
    op.create_table(
        "device",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("user_id", sa.Integer, sa.ForeignKey("user.id"), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("label", sa.String(64), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("device_by_user", "device", ["user_id"])


def downgrade() -> None:
    op.drop_table("device")
    with op.batch_alter_table("user") as table:
        table.drop_constraint("user_number", type_="unique")
        table.drop_column("number")
    op.drop_index("event_by_source", "event")
    op.create_index("event_by_source", "event", ["source", "seq"])
    op.drop_index("event_of_people", "event")
    op.drop_index("event_by_digest", "event")
    op.drop_index("event_by_number", "event")
    op.drop_column("event", "number")
    op.drop_column("event", "bridge")
