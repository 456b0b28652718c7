"""Which commands release an order is looked up for every order that the ERP tells of."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """CREATE INDEX command_order ON command (system, (record -> 'write' ->> 'order'))
           WHERE current AND state <> 'confirmed' AND record -> 'write' ->> 'order' IS NOT NULL"""
    )
