"""An index for the last comings and goings."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

OF_PEOPLE = sa.text("kind IN ('enter', 'leave', 'seen', 'gone')")


def upgrade() -> None:
    op.create_index(
        "event_of_people", "event", ["kind", "at", "seq"], sqlite_where=OF_PEOPLE, postgresql_where=OF_PEOPLE
    )


def downgrade() -> None:
    op.drop_index("event_of_people", "event")
