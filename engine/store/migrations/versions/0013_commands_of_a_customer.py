"""Whether a customer has an earlier command under way is asked for every command that may be sent."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """CREATE INDEX command_of_customer ON command (system, customer)
           WHERE current AND state IN ('pending', 'sent', 'unknown', 'stale', 'part_done', 'accepted')"""
    )
