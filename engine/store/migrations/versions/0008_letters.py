"""Dead letters have a cause, versions and an end; the reader is asked to do chores; reconciles are on record."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("dead_letter", sa.Column("kind", sa.String(), server_default="change", nullable=False))
    op.add_column("dead_letter", sa.Column("key", sa.Text(), nullable=True))
    op.add_column("dead_letter", sa.Column("cause", sa.String(), nullable=True))
    op.add_column("dead_letter", sa.Column("state", sa.String(), server_default="open", nullable=False))
    op.add_column("dead_letter", sa.Column("times", sa.Integer(), server_default="1", nullable=False))
    op.add_column("dead_letter", sa.Column("last_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("dead_letter", sa.Column("version", sa.Integer(), server_default="1", nullable=False))
    op.add_column("dead_letter", sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("dead_letter", sa.Column("closed_by", sa.String(), nullable=True))
    op.add_column("dead_letter", sa.Column("closed_why", sa.Text(), nullable=True))
    op.execute("UPDATE dead_letter SET kind = 'document' WHERE origin = 'mapping'")
    # Of what was kept again and again, the first letter stays.
    op.execute(
        """DELETE FROM dead_letter d USING dead_letter e
           WHERE d.kind = 'document' AND e.kind = 'document' AND d.system = e.system AND d.document = e.document
             AND d.id > e.id"""
    )
    op.execute("UPDATE dead_letter SET cause = document WHERE kind = 'document'")
    still_open = sa.text("state = 'open'")
    op.create_index("letter_cause", "dead_letter", ["system", "cause"], unique=True, postgresql_where=still_open)
    op.create_index("letter_document", "dead_letter", ["system", "document"], unique=False)
    op.create_table(
        "dead_letter_version",
        sa.Column("letter", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("letter", "version"),
    )
    op.create_table(
        "chore",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("system", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("asked_by", sa.String(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(), server_default="open", nullable=False),
        sa.Column("told", sa.Text(), nullable=True),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("chore_open", "chore", ["system", "kind", "subject"], unique=True, postgresql_where=still_open)
    op.create_table(
        "reconciliation",
        sa.Column("system", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=True),
        sa.Column("epoch", sa.String(), nullable=True),
        sa.Column("invoices", sa.Integer(), nullable=False),
        sa.Column("customers", sa.Integer(), nullable=False),
        sa.Column("differences", sa.Integer(), nullable=False),
        sa.Column("unsettled", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("system", "at"),
    )
