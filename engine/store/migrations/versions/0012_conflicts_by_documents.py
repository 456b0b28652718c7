"""A conflict may become moot by any document that its intent names, not only by the one that it is about."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("conflict_open_document", "conflict")
    op.execute(
        """CREATE INDEX conflict_open_documents ON conflict USING gin ((record -> 'documents'))
           WHERE state IN ('detected', 'held', 'chosen')"""
    )
