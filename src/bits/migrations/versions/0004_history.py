"""The history by time, hours of temperatures, tokens."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

OF_PEOPLE = sa.text("kind IN ('enter', 'leave', 'seen', 'gone')")


def upgrade() -> None:
    op.create_index("event_by_time", "event", ["kind", "at", "seq"])
    op.drop_index("event_of_people", "event")
    op.drop_index("event_by_source", "event")
    op.create_index("event_by_source", "event", ["source", "kind", "at", "seq"])
    op.create_table(
        "token",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("user_id", sa.Integer, sa.ForeignKey("user.id"), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("label", sa.String(64), nullable=False),
        sa.Column("scopes", sa.String(255), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used", sa.DateTime(timezone=True)),
    )
    op.create_index("token_by_user", "token", ["user_id"])
    op.create_table(
        "hour",
        sa.Column("sensor", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("hour", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("total", sa.Double, nullable=False),
        sa.Column("low", sa.Double, nullable=False),
        sa.Column("high", sa.Double, nullable=False),
    )
    op.create_table(
        "rollup",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("rollup")
    op.drop_table("hour")
    op.drop_table("token")
    op.drop_index("event_by_source", "event")
    op.create_index("event_by_source", "event", ["source", "at"])
    op.create_index(
        "event_of_people", "event", ["kind", "at", "seq"], sqlite_where=OF_PEOPLE, postgresql_where=OF_PEOPLE
    )
    op.drop_index("event_by_time", "event")
