"""Conflicts can be found by company and money, chosen about with a delay, assigned and commented on."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_OPEN = "state IN ('detected', 'held', 'chosen')"


def upgrade() -> None:
    op.add_column("conflict", sa.Column("company", sa.String(), nullable=True))
    op.add_column("conflict", sa.Column("amount", sa.Numeric(), nullable=True))
    op.add_column("conflict", sa.Column("currency", sa.String(), nullable=True))
    op.add_column("conflict", sa.Column("apply_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("conflict", sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("conflict", sa.Column("assignee", sa.String(), nullable=True))
    op.execute("UPDATE conflict SET amount = (record ->> 'amount')::numeric, currency = record ->> 'currency'")
    op.create_index("conflict_detected", "conflict", ["detected_at", "id"], unique=False)
    op.create_index("conflict_open", "conflict", ["detected_at", "id"], unique=False, postgresql_where=sa.text(_OPEN))
    op.create_index(
        "conflict_open_document", "conflict", ["system", "document"], unique=False, postgresql_where=sa.text(_OPEN)
    )
    op.create_index(
        "conflict_due", "conflict", ["system", "apply_at"], unique=False,
        postgresql_where=sa.text("state = 'chosen'"),
    )  # fmt: skip
    op.create_table(
        "conflict_note",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("system", sa.String(), nullable=False),
        sa.Column("conflict", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("conflict_note_of", "conflict_note", ["system", "conflict", "id"], unique=False)
