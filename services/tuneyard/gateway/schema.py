"""The tables, for SQLite and PostgreSQL alike. Who reads and writes them is the repositories' business.

Protobuf messages are the record: each row carries its message serialized in `blob`, and columns of its own
only for what is searched, sorted, compared or summed. Enum columns hold the protobuf numbers. Times are
integers: microseconds since 1970-01-01 UTC, which both databases compare alike. Ids are without their
collection: "0199…", not "jobs/0199…".
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

controller = Table(
    "controller",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("holder", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="single_row"),
)
"""The lease of the one gateway that dispatches and ingests. `epoch` only grows."""

jobs = Table(
    "jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("family", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("task", Integer, nullable=False),
    Column("slot", Integer, nullable=False),
    Column("state", Integer, nullable=False),
    Column("desired", Integer, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("dataset", Text, nullable=False),
    Column("validation_dataset", Text, nullable=False),
    Column("base_model", Text, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("update_time", BigInteger, nullable=False),
    Column("last_sequence", BigInteger, nullable=False),
    Column("attempt_count", Integer, nullable=False),
    Column("lost_in_a_row", Integer, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("blob", LargeBinary, nullable=False),
    Index("ix_jobs_list", "create_time", "id"),
    Index("ix_jobs_queue", "state", "family", "priority", "create_time"),
    Index("ix_jobs_update_time", "update_time"),
    Index("ix_jobs_dataset", "dataset"),
    Index("ix_jobs_base_model", "base_model"),
)
"""`version` grows with every change of the row, also with those that make no event."""

job_labels = Table(
    "job_labels",
    metadata,
    Column("job_id", Text, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Index("ix_job_labels_key_value", "key", "value"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("job_id", Text, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("trainer_id", Text, nullable=False),
    Column("trainer_address", Text, nullable=False),
    Column("open", Boolean, nullable=False),
    Column("run_sequence", BigInteger, nullable=False),
    Column("new_checkpoint", Boolean, nullable=False),
    Column("start_time", BigInteger, nullable=False),
    Column("end_time", BigInteger),
    Column("outcome", Text, nullable=False),
    # A job never has two attempts at once, whatever the code believes.
    Index(
        "uq_attempts_open",
        "job_id",
        unique=True,
        sqlite_where=text("open = 1"),
        postgresql_where=text("open"),
    ),
)

events = Table(
    "events",
    metadata,
    Column("job_id", Text, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("attempt", Integer, nullable=False),
    Column("kind", Integer, nullable=False),
    Column("blob", LargeBinary, nullable=False),
    Index("ix_events_kind", "job_id", "kind", "sequence"),
    # Rows lie in the order of their key, so that a replay is one run over the pages.
    sqlite_with_rowid=False,
)
"""`kind` is the field number of the event's body. The key proves that no sequence is given twice."""

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("job_id", Text, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("step", BigInteger, primary_key=True, autoincrement=False),
    Column("best", Boolean, nullable=False),
    Column("available", Boolean, nullable=False),
    Column("blob", LargeBinary, nullable=False),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("job_id", Text, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("path", Text, primary_key=True),
    Column("attempt", Integer, nullable=False),
    Column("key", Text, nullable=False),
    Column("blob", LargeBinary, nullable=False),
)
"""`blob` is a StoredArtifact: the artifact and its place in the store."""

datasets = Table(
    "datasets",
    metadata,
    Column("id", Text, primary_key=True),
    Column("state", Integer, nullable=False),
    Column("format", Integer, nullable=False),
    Column("key", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("upload_id", Text, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("blob", LargeBinary, nullable=False),
    Column("report_blob", LargeBinary, nullable=False),
    Index("ix_datasets_list", "create_time", "id"),
    Index("ix_datasets_state", "state"),
)
"""`blob` is a Dataset without its report; `report_blob` is the ValidationReport, empty before it is made."""

models = Table(
    "models",
    metadata,
    Column("id", Text, primary_key=True),
    Column("family", Integer, nullable=False),
    Column("state", Integer, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("blob", LargeBinary, nullable=False),
    Column("files_blob", LargeBinary, nullable=False),
    Column("upload_id", Text, nullable=False, server_default=""),
    Index("ix_models_list", "create_time", "id"),
)
"""`blob` is a Model; `files_blob` is a ModelSource with the files, while UPLOADING with the one to come."""

requests = Table(
    "requests",
    metadata,
    Column("principal", Text, primary_key=True),
    Column("method", Text, primary_key=True),
    Column("request_id", Text, primary_key=True),
    Column("body_sha256", Text, nullable=False),
    Column("resource", Text, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Index("ix_requests_create_time", "create_time"),
)
"""Which resource a creating call made, so that its repetition makes no second one."""

garbage = Table(
    "garbage",
    metadata,
    Column("prefix", Text, primary_key=True),
    Column("delete_after", BigInteger, nullable=False),
    Index("ix_garbage_delete_after", "delete_after"),
)
"""Prefixes of the object store that lose, when their time has come, what no record names."""
