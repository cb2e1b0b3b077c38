"""What the exceptions of database drivers mean, by number, by SQLSTATE and by name."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.domain import databases
from gateway.domain.databases import (
    DATABASE_ERRORS,
    MYSQL_CODES,
    SQL_STATES,
    SQLITE_CODES,
    database_code,
)
from gateway.domain.error_codes import CODES
from gateway.domain.evidence import names_of

LOST = "database_connection_lost"


def code_of(name: str, module: str, *args: object, **attributes: Any) -> str | None:
    cls = type(name, (Exception,), {"__module__": module})
    error = cls(*args)
    for key, value in attributes.items():
        setattr(error, key, value)
    return database_code(error, names_of(error))


def test_every_table_leads_to_a_code() -> None:
    tables = (SQLITE_CODES, MYSQL_CODES, SQL_STATES)
    assert {code for table in tables for code in table.values()} <= set(CODES)
    assert all(getattr(databases, name) for name in databases.__all__)


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("08006", LOST),
        ("28P01", "upstream_auth_failed"),
        ("40001", "database_conflict"),
        ("40P01", "database_conflict"),
        ("42P01", "query_rejected"),
        ("23505", "query_rejected"),
        ("53300", LOST),
        ("55P03", "database_conflict"),
        ("55000", "query_rejected"),
        ("57014", "network_timeout"),
        ("57P01", LOST),
    ],
)
@pytest.mark.parametrize("module", ["psycopg.errors", "asyncpg.exceptions"])
def test_an_sqlstate_decides_whatever_the_class_is_called(
    module: str, state: str, code: str
) -> None:
    """A wrong password is an OperationalError for psycopg, and would be tried again for ever."""
    assert code_of("OperationalError", module, sqlstate=state) == code


def test_a_name_decides_where_no_number_does() -> None:
    assert code_of("OperationalError", "psycopg", sqlstate=None) == LOST
    assert code_of("OperationalError", "agents.own") is None
    assert code_of("DataError", "redis.exceptions") == "query_rejected"
    assert code_of("ConnectionError", "redis.exceptions") == LOST
    assert code_of("AuthenticationError", "redis.exceptions") == "upstream_auth_failed"
    assert {"OperationalError", "PoolTimeout"} <= DATABASE_ERRORS


def test_sqlalchemy_leaves_it_to_its_cause() -> None:
    assert code_of("OperationalError", "sqlalchemy.exc") == "database?"
    assert code_of("IntegrityError", "sqlalchemy.exc") == "query?"


@pytest.mark.parametrize(
    ("number", "code"),
    [(1045, "upstream_auth_failed"), (1213, "database_conflict"), (2006, LOST), ("x", LOST)],
)
def test_mysql_tells_by_its_number(number: object, code: str) -> None:
    assert code_of("OperationalError", "pymysql.err", number, "text") == code


@pytest.fixture
def connection(tmp_path: Any) -> Iterator[sqlite3.Connection]:
    opened = sqlite3.connect(tmp_path / "a.db", timeout=0)
    yield opened
    opened.close()


def test_a_locked_database_is_a_conflict_and_a_doubled_key_a_mistake(
    connection: sqlite3.Connection, tmp_path: Any
) -> None:
    connection.execute("CREATE TABLE t (a PRIMARY KEY)")
    connection.execute("INSERT INTO t VALUES (1)")
    connection.commit()
    with pytest.raises(sqlite3.IntegrityError) as doubled:
        connection.execute("INSERT INTO t VALUES (1)")
    connection.rollback()
    connection.execute("BEGIN EXCLUSIVE")
    other = sqlite3.connect(tmp_path / "a.db", timeout=0)
    with pytest.raises(sqlite3.OperationalError) as locked:
        other.execute("INSERT INTO t VALUES (2)")
    other.close()
    assert database_code(doubled.value, names_of(doubled.value)) == "query_rejected"
    assert database_code(locked.value, names_of(locked.value)) == "database_conflict"
