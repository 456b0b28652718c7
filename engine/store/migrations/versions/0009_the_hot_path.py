"""The head knows when the mirror was written, and a waiting intent is found by the document that it names."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("system", sa.Column("mirrored", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("intent", sa.Column("waits_for", postgresql.ARRAY(sa.Text()), nullable=True))
    op.create_index(
        "intent_waiting",
        "intent",
        ["waits_for"],
        unique=False,
        postgresql_using="gin",
        postgresql_where=sa.text("state = 'waiting'"),
    )
