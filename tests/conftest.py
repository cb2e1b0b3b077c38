"""
What holds for every test: a test that did not run has not passed, and a search can be repeated.

A skipped test fails the run, because a suite whose server is missing would otherwise be green.
A test that cannot pass yet is an ``xfail`` with its reason, and fails when it begins to pass.
What tests have measured is printed by `make soak`.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.soak import SOAK

# No deadlines: they would judge the machine, and two test processes on a busy host break any.
# "desk": each run searches elsewhere, for a short time, and prints how to repeat what it finds.
# "ci": the same commit gets the same answer. "soak" (`make soak`) searches long.
settings.register_profile(
    "desk",
    max_examples=30,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("ci", settings.get_profile("desk"), derandomize=True)
settings.register_profile("soak", settings.get_profile("desk"), max_examples=2000)


def pytest_configure() -> None:
    # Where nothing compiled is kept, each of the many processes that tests start would compile the
    # gateway again: a third of their time.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    # Tests that speak TLS name an authority of their own, yet each HTTP client would read all root
    # certificates of the machine, which takes 70 ms of processor time. This folder holds none;
    # child processes inherit it.
    os.environ.pop("SSL_CERT_FILE", None)
    os.environ["SSL_CERT_DIR"] = str(Path(__file__).parent)
    if SOAK:
        settings.load_profile("soak")
    else:
        settings.load_profile("ci" if os.environ.get("CI") else "desk")


def pytest_collection_finish() -> None:
    # Half a million objects that stay; to go through them again and again takes a sixth of the
    # processor time of all tests.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if _skipped(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if SOAK:
        for report in terminalreporter.stats.get("passed", []):
            for name, value in report.user_properties:
                terminalreporter.write_line(f"{report.nodeid.rpartition('::')[2]}: {name}: {value}")
    for report in _skipped(config):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        terminalreporter.write_line(f"FAILED {report.nodeid} - skipped counts as failed: {reason}")


def _skipped(config: pytest.Config) -> list[pytest.CollectReport | pytest.TestReport]:
    """List the skipped tests; only the process that started the test processes has a terminal."""
    terminal: pytest.TerminalReporter | None = config.pluginmanager.get_plugin("terminalreporter")
    return terminal.stats.get("skipped", []) if terminal else []
