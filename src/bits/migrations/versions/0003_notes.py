"""Notes and announcements, and who is listed."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("event", sa.Column("note", sa.Text()))
    op.add_column("event", sa.Column("begins", sa.DateTime(timezone=True)))
    op.add_column("event", sa.Column("until", sa.DateTime(timezone=True)))
    op.add_column("user", sa.Column("listed", sa.Boolean()))
    op.execute(sa.text('UPDATE "user" SET listed = :no').bindparams(no=False))
    with op.batch_alter_table("user") as table:
        table.alter_column("listed", existing_type=sa.Boolean(), nullable=False)


def downgrade() -> None:
    with op.batch_alter_table("user") as table:
        table.drop_column("listed")
    for column in ("until", "begins", "note"):
        op.drop_column("event", column)
