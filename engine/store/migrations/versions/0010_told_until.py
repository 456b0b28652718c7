"""A source's position says until when it has told everything, so that its silence can be told from its absence."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("source_position", sa.Column("told_until", sa.DateTime(timezone=True), nullable=True))
