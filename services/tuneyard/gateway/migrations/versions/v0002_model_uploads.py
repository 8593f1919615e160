"""Models whose bytes are still to come have an open upload of the store."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("models", sa.Column("upload_id", sa.Text(), nullable=False, server_default=""))
