"""Attempts in processes of their own: the same as in this one, and gone when they are over."""

from __future__ import annotations

import dataclasses
import os

import psutil
import pytest

from gateway.attempts.agents import Agents
from gateway.domain.errors import ConfigurationError
from tests.attempts.isolated import Isolated, Runs, below, the_forker, until
from tests.attempts.isolated_agents import gateway
from tests.soak import times


def test_an_attempt_of_its_own_has_the_task_that_every_attempt_has(isolated: Runs) -> None:
    async def work(here: Isolated) -> None:
        await here.make("echo", text="hello")
        assert here.result["text"] == "hello"
        assert here.result["attempt"] == 2
        assert here.result["user"] == "ann"
        assert here.result["pid"] != os.getpid()
        assert here.cleaned_up == (["process"], [])

        await here.make("plain")
        assert (here.result["text"], here.result["steps"]) == ("before ", {"one": 1})
        # It has looked at what was there, and so its text comes after that.
        assert [piece.replaces for piece in here.pieces] == [False] * len(here.pieces)
        assert here.text == "more"
        assert any(piece.plan == ("step", "other") for piece in here.pieces)
        assert any((piece.progress, piece.at_step) == (0.5, "halfway") for piece in here.pieces)

        await here.make("generates")
        assert (here.result, here.text) == (["a", {"b": 1}], "a")
        assert [piece.replaces for piece in here.pieces if piece.text] == [True]

        await here.make("goes_on")
        assert (here.result, here.text) == ("before and after", "and after")

        await here.make("leaves", fallback=True)
        assert here.result.startswith("fallback ")
        assert here.result != f"fallback {os.getpid()}"

        await here.make("files")
        assert here.cleaned_up == (["process", "temp_files"], [])

    isolated(work)


@pytest.mark.parametrize("agent", ["raises", "returns"])
def test_a_failure_is_the_same_as_in_the_process_itself(agent: str, isolated: Runs) -> None:
    """Code, cause, text and chain; only the frames above the agent's function are others."""
    whats = {
        "raises": ("limited", "excluded", "chained", "memory", "cancelled", "exit"),
        "returns": ("number", "large", "odd"),
    }[agent]

    async def work(here: Isolated) -> None:
        apart = gateway.agents.get(agent)
        assert apart is not None
        here_too = dataclasses.replace(apart, policy=dataclasses.replace(apart.policy), home=None)
        for what in whats:
            await here.make(agent, what=what)
            code, cause, detail = here.failure
            await here.make_with(here_too, what=what)
            assert (code, cause) == here.failure[:2], what
            frames, frames_here = detail.pop("stack"), here.failure[2].pop("stack")
            assert detail == here.failure[2], what
            assert {at for at in frames_here if "isolated_agents" in at} <= set(frames)

    isolated(work)


def test_a_process_that_dies_is_told_with_the_signal_and_what_it_had_said(isolated: Runs) -> None:
    async def work(here: Isolated) -> None:
        for how, code, ending in (
            ("killed", "process_lost", "SIGKILL"),
            ("3", "process_lost", "exit code 3"),
            ("71", "memory_limit_exceeded", "exit code 71"),
        ):
            await here.make("dies", how=how)
            assert here.failed is not None
            assert here.failed[0] == code
            assert here.failed[2]["process"] == ending
            assert here.failed[2]["peak_bytes"] > 1_000_000
            assert here.cleaned_up == (["process"], [])
        await here.make("dies", how="killed")
        assert here.text == "last words"

    isolated(work)


def test_what_is_over_is_killed_with_everything_that_it_has_started(isolated: Runs) -> None:
    """At its limit, when it gives nothing, when the task has ended, when the gateway leaves."""

    async def work(here: Isolated) -> None:
        await here.attempts.prepare()
        idle = below(os.getpid())
        await here.make("idles")
        assert (here.code, below(os.getpid())) == ("stalled", idle)

        attempt = here.begin("hangs", limit_s=2.0)
        await here.said.wait()
        assert len(below(os.getpid()) - idle) == 3
        await attempt
        assert (here.code, here.text) == ("task_timeout", "hanging")
        assert here.cleaned_up == (["process"], [])
        assert below(os.getpid()) == idle

        attempt = here.begin("hangs")
        await here.said.wait()
        here.attempts.ended("0190-task")
        await attempt
        assert here.failed is None
        assert below(os.getpid()) == idle

        attempt = here.begin("hangs")
        await here.said.wait()
        attempt.cancel()
        await until(lambda: below(os.getpid()) == idle)

        await here.make("leaves")
        assert (here.result, here.cleaned_up) == ("left", (["process"], []))
        assert below(os.getpid()) == idle

        await here.make("files", hang=True, limit_s=0.5)
        assert here.cleaned_up == (["process", "temp_files"], [])

    isolated(work)


def test_a_forker_that_is_killed_takes_its_attempts_along_and_another_begins(
    isolated: Runs,
) -> None:
    async def work(here: Isolated) -> None:
        attempt = here.begin("blocks")
        await here.said.wait()
        forker = the_forker()
        forker.kill()
        await attempt
        assert here.code == "process_lost"
        await here.make("echo")
        assert here.result["attempt"] == 2

    isolated(work)


def test_an_agent_that_no_import_declares_is_refused_with_what_to_do(isolated: Runs) -> None:
    """It is found when the gateway starts, not when the first task comes."""
    declared = gateway.agents.get("echo")
    assert declared is not None
    assert declared.home is not None
    lost = dataclasses.replace(
        declared, home=dataclasses.replace(declared.home, function="tests:nowhere")
    )

    async def work(here: Isolated) -> None:
        known, here.attempts.agents = here.attempts.agents, Agents()
        here.attempts.agents.declare(lost)
        with pytest.raises(ConfigurationError, match="at the top of its module"):
            await here.attempts.prepare()
        here.attempts.agents = known
        await here.make_with(lost)
        assert here.failed is not None
        assert here.failed[0] == "agent_exception"
        assert "at the top of its module" in here.failed[2]["text"]

    isolated(work)


@pytest.mark.soak
def test_many_attempts_leave_nothing(isolated: Runs) -> None:
    """A thousand with a hundred kills in `make soak`: no process, no folder, no descriptor."""
    many = times(30, 1_000)

    async def work(here: Isolated) -> None:
        await here.make("echo")
        processes = below(os.getpid())
        forker = the_forker()
        open_before = psutil.Process().num_fds(), forker.num_fds()
        for number in range(many):
            if number % 10 == 5:
                attempt = here.begin("hangs")
                await here.said.wait()
                (cell,) = forker.children()
                if number % 20 == 5:
                    cell.kill()
                else:
                    here.attempts.ended("0190-task")
                await attempt
            else:
                await here.make("files")
                assert here.failed is None
        assert below(os.getpid()) == processes
        assert (psutil.Process().num_fds(), forker.num_fds()) == open_before

    isolated(work)
