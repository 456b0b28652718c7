"""A system remembers that its store was brought back from a backup."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("system", sa.Column("restored_at", sa.DateTime(timezone=True), nullable=True))
