"""
Reports that take a process, a socket or a clock to try: each with the tests that do so.

The first test is what was reported, the others are neighbours that nobody has listed. ``make test``
runs them; ``test_rows`` sees to it that they are there.
"""

from __future__ import annotations

import dataclasses

__all__ = ["ROWS", "Row"]


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """
    One report.

    Attributes:
        id: ``F01``, ….
        report: Where it was reported.
        title: The input in a line.
        was: What was seen.
        now: What is seen now.
        tests: The tests that try it, as ``file::name`` below ``tests/``.
    """

    id: str
    report: str
    title: str
    was: str
    now: str
    tests: tuple[str, ...]

    def told(self) -> str:
        """What ``make field`` prints of it."""
        return "\n".join(
            [
                f"tested {self.id:<5} {self.report}  {self.title}",
                f"         was  {self.was}",
                f"         is   {self.now}",
                *(f"         by   tests/{test}" for test in self.tests),
            ]
        )


ROWS: tuple[Row, ...] = (
    Row(
        "F01",
        "robinhood/faust#231, pydantic-ai#6914",
        "an async agent blocks its loop for longer than beats are waited for, two workers",
        "begun three times, all ran to their end, dead-lettered",
        "suspect, loop_blocked; begun once, ends once",
        (
            "scenarios/test_blocked_loops.py::"
            "test_a_task_that_blocks_its_loop_is_begun_once_and_ends_once",
            "scenarios/test_blocked_loops.py::"
            "test_a_blocked_task_over_its_limit_ends_and_the_others_begin_again",
            "scenarios/test_processes.py::test_what_its_agents_block_and_kill_is_not_the_gateways",
        ),
    ),
    Row(
        "F04",
        "agent-framework#7699, mcp python-sdk#3560",
        "the agent raises CancelledError, and nobody had asked for it",
        "cancelled, no retry, fallback unused",
        "a failure: told, counted, tried again",
        (
            "attempts/test_attempt.py::"
            "test_a_cancellation_that_nobody_asked_for_is_tried_again_and_counted",
            "worker/test_desk.py::"
            "test_a_worker_tells_a_cancellation_that_nobody_asked_for_as_a_failure",
        ),
    ),
    Row(
        "F05",
        "fastapi#4199, sse-starlette#75",
        "a mounted gateway in memory, uvicorn --workers 2",
        "20 tasks accepted, 9 ends told",
        "the second process refuses to start and says what to do",
        (
            "app/test_one_process.py::"
            "test_a_second_worker_of_one_server_refuses_and_says_what_to_do",
            "app/test_one_process.py::test_one_worker_starts",
        ),
    ),
    Row(
        "F06",
        "xorbitsai/inference#5549",
        "gateway.attempt in a response that is streamed, and the client leaves",
        "hook not run, folder and process left, no resource_cleanup",
        "the cleanup is finished, whatever cancels it",
        (
            "attempts/test_late.py::test_a_client_that_leaves_a_stream_leaves_nothing_behind",
            "attempts/test_late.py::test_the_cleanup_of_a_block_is_finished_under_any_cancellation",
        ),
    ),
    Row(
        "F07",
        "nanobot#4038, mastra#9247",
        "a generator agent fails in the middle of its text and starts over",
        '"Here is the Here is the plan"',
        "the first piece replaces what was shown",
        (
            "attempts/test_pieces_replaced.py::test_an_attempt_that_does_not_look_starts_over",
            "attempts/test_pieces_replaced.py::test_a_fallback_starts_over_too_and_steps_stay",
            "attempts/test_pieces_replaced.py::test_a_worker_starts_over_as_the_gateway_does",
        ),
    ),
    Row(
        "F12",
        "celery#8751, prefect#12224",
        "the result is a pydantic model, a dataclass, a datetime, NaN",
        "unencodable_result: finished work thrown away",
        "everything has a form",
        (
            "attempts/test_json_forms.py::test_everything_has_a_form",
            "attempts/test_json_forms.py::test_what_can_be_iterated_asynchronously_is_drained",
            "attempts/test_json_forms.py::test_half_a_pair_waits_for_its_other_half",
        ),
    ),
    Row(
        "F18",
        "sglang#25811, Hystrix#674",
        "one user's five bad inputs raise ValueError",
        "the breaker opens for everybody",
        "exclude= makes them the input's fault",
        (
            "attempts/test_demands.py::"
            "test_what_is_excluded_is_the_inputs_fault_and_opens_no_breaker",
            "attempts/test_demands.py::test_a_group_is_excluded_when_all_its_leaves_are",
        ),
    ),
    Row(
        "F19",
        "websockets/ws#2224",
        "one call of 70 KiB over the WebSocket",
        "1009, all pending calls fail, and again after the reconnect",
        "workers send it over HTTP, the client module refuses it alone",
        (
            "worker/test_registration.py::test_a_call_that_is_too_large_for_a_frame_goes_over_http",
            "scenarios/test_workers.py::test_a_result_larger_than_a_frame_arrives",
        ),
    ),
    Row(
        "F21",
        "crewAI#2379, temporal sdk-python#1048",
        "a plain function over its limit, three attempts",
        "three runs at once",
        'the next attempt waits for the thread; with isolation="process" it is killed',
        (
            "scenarios/test_isolation.py::"
            "test_attempts_that_are_over_are_killed_told_and_leave_nothing",
            "execution/holders/test_waits.py::"
            "test_a_retry_waits_for_the_thread_of_the_attempt_before",
            "attempts/test_attempt.py::test_a_thread_that_runs_on_is_named_and_keeps_its_slot",
        ),
    ),
    Row(
        "F28",
        "vercel/ai#5443, langchainjs#9643",
        "tokens still flow when the limit is reached",
        "cut at 30 s",
        "idle_timeout beside the limit of the whole",
        (
            "attempts/test_idle.py::test_an_agent_that_still_gives_something_is_not_cut",
            "attempts/test_idle.py::test_a_worker_watches_the_pauses_of_its_attempts",
        ),
    ),
    Row(
        "F30",
        "openai-agents-python#4885",
        'the agent returns "" after finish_reason=length',
        "succeeded",
        "accept= says what will do",
        (
            "attempts/test_demands.py::test_a_result_that_is_not_acceptable_is_tried_again",
            "attempts/test_demands.py::test_a_schema_says_what_is_acceptable_of_the_fallback_too",
        ),
    ),
    Row(
        "F35",
        "connect#859, resgate#108",
        "NATS with .creds, NKey, mutual TLS, an authority of one's own",
        "impossible",
        "settings for each, tried on real servers",
        (
            "scenarios/test_store_access.py::"
            "test_a_gateway_works_on_a_store_that_asks_for_everything_and_comes_back",
            "stores/jetstream/test_access.py::test_certificates_and_keys_that_do_not_fit_are_said",
        ),
    ),
    Row(
        "F36",
        "vscode#263331",
        "a chat history of 200 KiB as input",
        "413",
        "taken; INPUT_BYTES is the bound",
        (
            "execution/handlers/test_tasks_asked_for.py::test_an_input_over_the_bound_is_refused",
            "execution/holders/test_block.py::test_an_input_over_the_bound_is_refused",
        ),
    ),
    Row(
        "F39",
        "jwt-auth#291",
        "an open gateway behind basic auth of a proxy that adds no header",
        "every HTTP call 400, the WebSocket works",
        "Authorization is not looked at when nobody signs in",
        (
            "transports/test_http.py::test_an_open_gateway_does_not_look_at_authorization",
            "transports/test_access.py::test_on_an_open_gateway_authorization_is_not_looked_at",
        ),
    ),
    Row(
        "F41",
        "fastapi#1487, cpython#94454",
        "a plain agent forks: multiprocessing.Pool, Process.terminate()",
        "the worker ends with exit code 0; under serve the child lives, and SIGTERM ends nothing",
        "the child ends by its own signal, worker and gateway by theirs",
        (
            "scenarios/test_isolation.py::"
            "test_children_that_an_agent_forks_end_by_their_own_signals",
            "scenarios/test_isolation.py::"
            "test_a_child_that_an_agent_forks_holds_nothing_of_the_gateway_open",
            "attempts/test_forks.py::"
            "test_a_child_ends_by_its_own_signal_and_lets_go_of_what_is_kept",
        ),
    ),
    Row(
        "F42",
        "sidekiq#4633, ray#28714",
        "one task kills its process at each try, others run beside it",
        "all dead-lettered within 2.5 s",
        "the others lose no attempt and succeed",
        (
            "scenarios/test_blocked_loops.py::"
            "test_a_task_that_ends_its_process_again_and_again_costs_only_itself",
            "scenarios/test_processes.py::test_what_its_agents_block_and_kill_is_not_the_gateways",
        ),
    ),
    Row(
        "F46",
        "hermes-agent#60650",
        "an agent's child in a session of its own: an MCP server, a browser",
        "outlives the kill, while resource_cleanup says process, success",
        "the keeper adopts it and ends it",
        (
            "scenarios/test_isolation.py::test_what_has_left_a_killed_workers_session_ends_with_it",
            "attempts/test_cleanup.py::"
            "test_a_process_in_a_session_of_its_own_ends_with_the_one_that_started_it",
            "attempts/test_cells.py::"
            "test_what_is_over_is_killed_with_everything_that_it_has_started",
        ),
    ),
    Row(
        "F53",
        "temporal (heartbeat details)",
        "preserve() five times, then SIGKILL at once",
        "all five lost",
        "await task.flush() returns when they are in the log",
        ("scenarios/test_workers.py::test_what_was_flushed_outlives_a_kill_in_the_same_moment",),
    ),
    Row(
        "F10",
        "wire-webapp#21653",
        "a laptop wakes, and the request for a token never settles",
        "connecting for ever",
        "given up within the open timeout, then tried again",
        (
            "frontend/test_client.py::test_a_token_that_never_comes_is_asked_for_again",
            "frontend/test_client.py::test_silence_is_noticed_though_the_computers_clock_was_set",
            "frontend/test_coming_back.py::test_a_page_that_is_frozen",
        ),
    ),
    Row(
        "F11",
        "htmx#2225",
        "an EventSource comes back while its gateway drains, is replaced, full or without a store",
        "503: it never comes back",
        "200, retry:, and the end; what happened meanwhile arrives once and in order",
        (
            "frontend/test_coming_back.py::test_a_node_that_drains_and_is_replaced",
            "frontend/test_coming_back.py::test_a_store_that_goes_away_and_comes_back",
            "frontend/test_coming_back.py::test_a_node_that_is_full_and_has_room_again",
            "frontend/test_coming_back.py::test_a_log_that_begins_anew_is_told_of",
            "frontend/test_coming_back.py::test_a_node_that_is_replaced_behind_nginx",
        ),
    ),
    Row(
        "F52",
        "nats servers with a small max_payload",
        "64 KiB, a preserved step of 120 kB",
        "dropped with a traceback, the task succeeds",
        "refused at the start, or the node is not ready: both numbers are said",
        (
            "stores/jetstream/test_stream.py::"
            "test_a_server_that_takes_too_little_in_one_message_is_said_clearly",
            "stores/jetstream/test_stream.py::"
            "test_a_stream_that_comes_to_take_too_little_is_away_and_says_both_numbers",
        ),
    ),
)
