"""Entries have a place in their batch, a system remembers the settings under which it decided last, checkpoints."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("journal", sa.Column("place", sa.Integer(), nullable=True))
    op.add_column("system", sa.Column("settings", sa.String(), nullable=True))
    op.create_table(
        "checkpoint",
        sa.Column("system", sa.String(), nullable=False),
        sa.Column("batch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("pruned_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("system", "batch"),
    )
    op.create_table(
        "checkpoint_record",
        sa.Column("system", sa.String(), nullable=False),
        sa.Column("batch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("system", "batch", "name"),
    )
