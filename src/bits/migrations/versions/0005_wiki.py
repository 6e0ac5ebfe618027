"""The wiki: pages, revisions, pictures, and the search, which the database itself keeps in step."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

FTS5 = (
    "CREATE VIRTUAL TABLE page_words USING fts5(title, text, content='page', content_rowid='id')",
    "CREATE TRIGGER page_added AFTER INSERT ON page BEGIN"
    " INSERT INTO page_words(rowid, title, text) VALUES (new.id, new.title, new.text); END",
    "CREATE TRIGGER page_removed AFTER DELETE ON page BEGIN"
    " INSERT INTO page_words(page_words, rowid, title, text) VALUES ('delete', old.id, old.title, old.text); END",
    "CREATE TRIGGER page_changed AFTER UPDATE OF title, text ON page BEGIN"
    " INSERT INTO page_words(page_words, rowid, title, text) VALUES ('delete', old.id, old.title, old.text);"
    " INSERT INTO page_words(rowid, title, text) VALUES (new.id, new.title, new.text); END",
)

POSTGRESQL = (
    "ALTER TABLE page ADD COLUMN words tsvector GENERATED ALWAYS AS ("
    "setweight(to_tsvector('simple', title), 'A') || setweight(to_tsvector('simple', text), 'B')) STORED",
    "CREATE INDEX page_by_words ON page USING gin (words)",
)


def upgrade() -> None:
    op.create_table(
        "revision",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("slug", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("comment", sa.String(200), nullable=False),
        sa.Column("title", sa.String(120), nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_index("revision_by_slug", "revision", ["slug", "id"])
    op.create_table(
        "page",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("slug", sa.String(64), nullable=False, unique=True),
        sa.Column("revision", sa.Integer, sa.ForeignKey("revision.id"), nullable=False),
        sa.Column("locked", sa.Boolean, nullable=False),
        sa.Column("title", sa.String(120), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_table(
        "file",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    for statement in FTS5 if op.get_bind().dialect.name == "sqlite" else POSTGRESQL:
        op.execute(statement)


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TABLE page_words")
    op.drop_table("file")
    op.drop_table("page")
    op.drop_table("revision")
