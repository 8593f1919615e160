"""Real servers for tests and benchmarks: PostgreSQL and an S3 server, on loopback, in temporary folders.

Each runs beneath a program of its own (`python -m tests.support.servers NAME`), which watches its standard
input: a test run that is killed leaves neither a server nor a folder behind.
"""

from tests.support.servers.client import PostgresServer, S3Server, postgres_server, s3_server
from tests.support.servers.process import ServerUnavailable

__all__ = ["PostgresServer", "S3Server", "ServerUnavailable", "postgres_server", "s3_server"]
