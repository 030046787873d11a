"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "bad9faffb9c7"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision."""
    op.create_table(
        "users",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.Column("password_hash", sa.String(length=255), nullable=False),
        sa.Column("is_admin", sa.Boolean(), nullable=False),
        sa.Column("confirmed_at", sa.DateTime(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("email", name=op.f("uq_users_email")),
        sqlite_autoincrement=True,
        mysql_charset="utf8mb4",
        mariadb_charset="utf8mb4",
    )
    op.create_table(
        "words",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("english", sa.String(length=100), nullable=False),
        sa.Column("chinese", sa.String(length=100), nullable=False),
        sa.Column("english_example", sa.String(length=500), nullable=False),
        sa.Column("chinese_example", sa.String(length=500), nullable=False),
        sa.Column("picture", sa.String(length=255), nullable=True),
        sa.Column("owner_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name=op.f("fk_words_owner_id_users"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_words")),
        sqlite_autoincrement=True,
        mysql_charset="utf8mb4",
        mariadb_charset="utf8mb4",
    )
    with op.batch_alter_table("words", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_words_chinese"), ["chinese"], unique=False)
        batch_op.create_index(batch_op.f("ix_words_english"), ["english"], unique=False)
        batch_op.create_index(batch_op.f("ix_words_owner_id"), ["owner_id"], unique=False)


def downgrade() -> None:
    """Go back to the one before."""
    # MySQL needs the index for the foreign key, so both go with the table.
    op.drop_table("words")
    op.drop_table("users")
