"""A system has a fence: of several workers only the one that took it over last can commit."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("system", sa.Column("fence", sa.BigInteger(), nullable=False, server_default="0"))
