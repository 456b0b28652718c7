"""A system can be paused, and the brake counts what was sent."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("system", sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("system", sa.Column("paused_by", sa.String(), nullable=True))
    op.add_column("system", sa.Column("pause_reason", sa.Text(), nullable=True))
    op.add_column("system", sa.Column("resumed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("command", sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE command SET sent_at = (record ->> 'sent_at')::timestamptz")
    op.create_index("command_sent", "command", ["system", "sent_at"], unique=False)
