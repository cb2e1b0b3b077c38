"""
Databases: whether one is away, at odds with another writer, or was asked something wrong.

Drivers use names that mean other things elsewhere (``TimeoutError``, ``ConnectionError``), so a
name counts in their packages only. Where a driver gives a number or an SQLSTATE, that decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.domain.evidence import attribute, text_of
from gateway.domain.known_exceptions import KNOWN

__all__ = [
    "DATABASE_ERRORS",
    "DATABASE_PACKAGES",
    "MYSQL_CODES",
    "SQLITE_CODES",
    "SQL_STATES",
    "database_code",
]

DATABASE_PACKAGES = frozenset(
    {
        "MySQLdb",
        "aiomysql",
        "aiosqlite",
        "asyncpg",
        "mysql",
        "oracledb",
        "psycopg",
        "psycopg2",
        "psycopg_pool",
        "pymongo",
        "pymysql",
        "redis",
        "sqlalchemy",
        "sqlite3",
        "valkey",
    }
)
# The errors of a database package that mean that the database is away; its others are mistakes.
DATABASE_ERRORS = frozenset(
    {
        "AdminShutdownError",
        "AutoReconnect",
        "BusyLoadingError",
        "CannotConnectNowError",
        "ConnectionDoesNotExistError",
        "ConnectionError",
        "ConnectionFailure",
        "ConnectionTimeout",
        "CrashShutdownError",
        "DisconnectionError",
        "InterfaceError",
        "NetworkTimeout",
        "OperationalError",
        "PoolClosed",
        "PoolTimeout",
        "PostgresConnectionError",
        "ServerSelectionTimeoutError",
        "TimeoutError",
        "TooManyConnectionsError",
    }
)
# sqlite3 raises OperationalError for mistakes in SQL as well. By primary result code
# (https://sqlite.org/rescode.html): SQLITE_ERROR, SQLITE_NOMEM, SQLITE_FULL.
SQLITE_CODES: Mapping[int, str] = {
    1: "query_rejected",
    5: "database_conflict",
    6: "database_conflict",
    7: "memory_limit_exceeded",
    13: "disk_full",
    19: "query_rejected",
    20: "query_rejected",
}
# By the number of MySQL, where its drivers raise OperationalError.
MYSQL_CODES: Mapping[int, str] = {
    1044: "upstream_permission_denied",
    1045: "upstream_auth_failed",
    1205: "database_conflict",
    1213: "database_conflict",
}
# By SQLSTATE, whole or its class (https://www.postgresql.org/docs/18/errcodes-appendix.html).
# All others are mistakes in what was asked.
SQL_STATES: Mapping[str, str] = {
    "08": "database_connection_lost",
    "28": "upstream_auth_failed",
    "40": "database_conflict",
    "53": "database_connection_lost",
    "55P03": "database_conflict",
    "55006": "database_conflict",
    "57014": "network_timeout",
    "57": "database_connection_lost",
    "58": "database_connection_lost",
    "XX": "database_connection_lost",
}


def database_code(error: BaseException, names: Sequence[tuple[str, str]]) -> str | None:
    """Tell the code of one exception of a database's driver; None: it is not one."""
    packages = {package for package, _ in names} & DATABASE_PACKAGES
    if not packages:
        return None
    for key in names:
        if key in KNOWN:
            return KNOWN[key]
    if "sqlite3" in packages:
        return _of_sqlite(error, names)
    state = attribute(error, "sqlstate")
    if isinstance(state, str) and state:
        return SQL_STATES.get(state) or SQL_STATES.get(state[:2], "query_rejected")
    away = any(package in packages and name in DATABASE_ERRORS for package, name in names)
    if "sqlalchemy" in packages:  # its cause is the driver's own
        return "database?" if away else "query?"
    if not away:
        return "query_rejected"
    arguments = attribute(error, "args")
    number = arguments[0] if isinstance(arguments, tuple) and arguments else None
    return (
        MYSQL_CODES.get(number, "database_connection_lost")
        if isinstance(number, int)
        else ("database_connection_lost")
    )


def _of_sqlite(error: BaseException, names: Sequence[tuple[str, str]]) -> str:
    code = attribute(error, "sqlite_errorcode")
    if isinstance(code, int):
        return SQLITE_CODES.get(code & 0xFF, "database_connection_lost")
    # A closed connection raises ProgrammingError as well, without a code: only the text tells.
    if ("sqlite3", "ProgrammingError") in names and "closed database" not in text_of(error):
        return "query_rejected"
    return "database_connection_lost"
