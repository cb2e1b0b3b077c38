"""What is published: completed from what is known, refused by field, and never silent."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from event_schemas.publications import BORROWED
from gateway.domain.access import LOCAL_OPERATOR, Caller
from gateway.domain.errors import (
    Conflict,
    InvalidEvent,
    InvalidParams,
    NotFound,
    NotPermitted,
    RateLimitedRequest,
    RequestError,
    StaleTerm,
    TooLarge,
)
from gateway.domain.events import BOOKKEEPING, LIFECYCLE, PUBLISHABLE_BY_AGENTS
from gateway.domain.thread import THREAD_MAX
from tests.domain.secret_samples import KEYS, fragments
from tests.execution.anything import VALUES
from tests.execution.conftest import OpenWorld
from tests.execution.world import VirtualLoop, World, world

AGENT = Caller("backend", frozenset({"agent", "events:read"}))
SENDER = Caller("ann", frozenset({"events:write", "events:read"}))
BOB = Caller("bob", frozenset({"events:write", "events:read"}))
READER = Caller("ann", frozenset({"events:read"}))

PASSWORD = "hunter2" + "-Zx9"
ABOUT: dict[str, Any] = {"user_id": "ann", "agent_name": "search"}


async def publish(here: World, caller: Caller = AGENT, /, **event: Any) -> Any:
    return await here.call("event.publish", caller, **event)


# --- notifications ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type", "more"),
    [
        ("notification", {"subject": "s", "payload": 1, "channel": "c"}),
        ("agent_error", ABOUT),
    ],
)
async def test_the_secret_that_a_worker_sends_with_each_call_is_no_part_of_an_event(
    here: World, type: str, more: dict[str, Any]
) -> None:
    await publish(here, type=type, agent_secret="known to two", **more)
    (event,) = here.said(type)
    assert "known to two" not in str(event)


async def test_a_notification_goes_to_the_recipient_that_it_names(here: World) -> None:
    answer = await publish(
        here, SENDER, type="notification", subject="hello", payload={"a": 1}, recipient_id="bob"
    )
    (event,) = here.said("notification")
    assert (event["event_id"], event["offset"]) == (
        answer["event_id"],
        answer["position"]["offset"],
    )
    assert (event["user_id"], event["recipient_id"], event["payload"]) == (None, "bob", {"a": 1})
    assert here.entries[0].topics == ("recipient:bob",)


@pytest.mark.parametrize(
    ("changes", "error", "field"),
    [
        ({"user_id": "*"}, NotPermitted, "user_id"),
        ({"user_id": "bob"}, NotPermitted, "user_id"),
        ({"recipient_id": "*"}, InvalidEvent, "recipient_id"),
        ({"recipient_id": None}, InvalidEvent, None),
        ({"offset": 3}, InvalidEvent, "offset"),
        ({"timestamp": "2026-11-22T05:04:54.123Z"}, InvalidEvent, "timestamp"),
        ({"foreign": 1}, InvalidEvent, "foreign"),
        ({"state": {"outcome": {}}}, InvalidEvent, "state"),
        ({"payload": float("nan")}, InvalidParams, "event"),
        ({"payload": "\ud800"}, InvalidParams, "event"),
        ({"payload": "x" * 262_144}, TooLarge, "payload"),
        ({"x" * 262_144: 1}, TooLarge, "a name of 262144 characters"),
        ({"message": ""}, InvalidEvent, "message"),
    ],
)
async def test_a_notification_that_may_not_be_sent_is_refused_with_its_field(
    here: World, changes: dict[str, Any], error: type[RequestError], field: str | None
) -> None:
    event = {"type": "notification", "subject": "s", "payload": 1, "recipient_id": "bob"}
    with pytest.raises(error) as refused:
        await publish(here, SENDER, **{**event, **changes})
    if field is not None:
        assert refused.value.field == field
    assert here.events == []


async def test_a_notification_says_who_has_sent_it(here: World) -> None:
    about = {"type": "notification", "subject": "s", "payload": 1, "recipient_id": "bob"}
    await publish(here, SENDER, **about)
    assert here.said("notification")[0]["sender"] == "ann"
    with pytest.raises(InvalidEvent) as refused:
        await publish(here, SENDER, **about, sender="boss")
    assert refused.value.field == "sender"


@pytest.mark.parametrize("field", BORROWED)
async def test_a_notification_borrows_nothing(here: World, field: str) -> None:
    """It would be shown as a task's own, say, in the name of an agent, even after the end."""
    about = {"type": "notification", "subject": "s", "payload": 1, "recipient_id": "bob"}
    for caller in (SENDER, LOCAL_OPERATOR):
        with pytest.raises(InvalidEvent) as refused:
            await publish(here, caller, **about, **{field: "x"})
        assert refused.value.field == field
    assert here.events == []


async def test_the_payload_of_a_notification_is_bounded(here: World) -> None:
    about = {"type": "notification", "subject": "s", "recipient_id": "bob"}
    await publish(here, SENDER, **about, payload="x" * (65_536 - 2))
    with pytest.raises(TooLarge) as refused:
        await publish(here, SENDER, **about, payload="x" * (65_536 - 1))
    assert refused.value.field == "payload"


async def test_only_notifications_go_to_a_channel(here: World) -> None:
    with pytest.raises(InvalidEvent) as refused:
        await publish(here, AGENT, type="agent_error", channel="news", **ABOUT)
    assert refused.value.field == "channel"
    (told,) = here.said("agent_error")  # the failure itself is told all the same
    assert (told["error_type"], told.get("channel")) == ("validation_error", None)


# --- threads ---------------------------------------------------------------------------------


async def test_a_token_that_names_its_channels_writes_to_no_other(here: World) -> None:
    narrow = dataclasses.replace(SENDER, channels=frozenset({"news"}))
    note: dict[str, Any] = {"type": "notification", "subject": "s", "payload": 1}
    await publish(here, narrow, **note, channel="news")
    await publish(here, narrow, **note, recipient_id="bob")
    with pytest.raises(NotPermitted) as refused:
        await publish(here, narrow, **note, channel="other", recipient_id="bob")
    assert refused.value.field == "channel"
    for wrong in (5, ["news"], {"news": 1}):
        with pytest.raises(InvalidEvent):
            await publish(here, narrow, **note, channel=wrong)
    root = (await publish(here, SENDER, **note, channel="other"))["event_id"]
    stranger = dataclasses.replace(narrow, user_id="bob")
    with pytest.raises(NotFound):  # what it may not read it cannot answer
        await publish(here, stranger, **note, recipient_id="ann", parent_event_id=root)
    assert len(here.said("notification")) == 3


async def test_a_token_that_names_its_agents_reports_as_no_other(here: World) -> None:
    """Nor does its refusal tell the user that an agent has failed: it is not its business."""
    narrow = dataclasses.replace(AGENT, agents=frozenset({"search"}))
    await publish(here, narrow, type="agent_error", **ABOUT)
    with pytest.raises(NotPermitted) as refused:
        await publish(here, narrow, type="agent_error", user_id="ann", agent_name="billing")
    assert refused.value.field == "agent_name"
    assert [event["agent_name"] for event in here.said("agent_error")] == ["search"]
    for wrong in (5, ["search"], {"a": 1}, None):
        with pytest.raises(InvalidEvent):
            await publish(here, narrow, type="agent_error", user_id="ann", agent_name=wrong)


BOB = Caller("bob", frozenset({"events:write", "events:read"}))
CY = Caller("cy", frozenset({"events:write", "events:read"}))


async def note(here: World, caller: Caller, to: str, parent: str | None = None) -> str:
    about = {"type": "notification", "subject": "s", "payload": 1, "recipient_id": to}
    if parent is not None:
        about["parent_event_id"] = parent
    event_id: str = (await publish(here, caller, **about))["event_id"]
    return event_id


@pytest.mark.requirement("MESH-15")
async def test_answers_name_what_is_there_and_what_the_sender_may_see(here: World) -> None:
    """So there is no circle: an event cannot name one that comes later, nor itself."""
    root = await note(here, SENDER, "bob")
    answer = await note(here, BOB, "ann", root)
    await note(here, SENDER, "bob", answer)
    for caller, parent in ((CY, root), (SENDER, "unknown"), (SENDER, here.engine.ids.uuid7())):
        with pytest.raises(NotFound, match="leave it out") as refused:
            await note(here, caller, "ann", parent)
        assert refused.value.field == "parent_event_id"
    about = {"subject": "s", "payload": 1, "recipient_id": "bob"}
    for own in ("event_id", "offset"):
        with pytest.raises(InvalidEvent) as malformed:
            await publish(here, SENDER, type="notification", **about, **{own: root})
        assert malformed.value.field == own
    with pytest.raises(InvalidEvent):
        await publish(here, SENDER, type="notification", **about, parent_event_id=7)
    assert len(here.said("notification")) == 3


@pytest.mark.requirement("MESH-15")
async def test_a_thread_is_bounded_and_says_so(here: World) -> None:
    root = await note(here, SENDER, "bob")
    last = root
    for number in range(THREAD_MAX - 1):
        last = await note(here, (BOB, SENDER)[number % 2], ("ann", "bob")[number % 2], last)
    for parent in (root, last):
        with pytest.raises(Conflict, match="begin a new one") as refused:
            await note(here, SENDER, "bob", parent)
        assert (refused.value.code, refused.value.field) == ("thread_full", "parent_event_id")
    thread = (await here.call("event.list", BOB, parent_event_id=root, limit=500))["items"]
    assert len(thread) == THREAD_MAX
    await note(here, SENDER, "bob")


@pytest.mark.parametrize("type", sorted(LIFECYCLE | BOOKKEEPING))
async def test_no_publisher_says_what_only_the_gateway_says(here: World, type: str) -> None:
    with pytest.raises(NotPermitted):
        await publish(here, type=type, **ABOUT)
    assert here.events == []


@pytest.mark.parametrize("type", sorted(PUBLISHABLE_BY_AGENTS | {"notification"}))
async def test_nothing_is_said_without_the_right_to(here: World, type: str) -> None:
    with pytest.raises(NotPermitted):
        await publish(here, READER, type=type, **ABOUT)
    with pytest.raises((NotPermitted, RequestError)):
        await publish(here, AGENT if type == "notification" else SENDER, type=type, **ABOUT)
    assert here.events == []


async def test_a_type_that_is_not_known_is_refused(here: World) -> None:
    with pytest.raises(InvalidEvent) as refused:
        await publish(here, type="agent_eror", **ABOUT)
    assert refused.value.field == "type"


# --- reports ---------------------------------------------------------------------------------


async def test_a_failure_is_reported_and_ends_with_the_recovery_that_is_reported(
    here: World,
) -> None:
    answer = await publish(
        here, type="agent_error", error_type="rate_limit", error_code="llm_rate_limit", **ABOUT
    )
    (error,) = here.said("agent_error")
    assert error["error_id"] == answer["error_id"]
    assert (error["user_id"], error["cause"], error["suggested_action"]) == (
        "ann",
        "reported",
        "wait",
    )
    assert [one.error_id for one in here.state.failures] == [answer["error_id"]]
    await here.passing(5)
    await publish(here, type="system_recovered", error_id=answer["error_id"], **ABOUT)
    (recovered,) = here.said("system_recovered")
    assert (recovered["recovery_time"], recovered["error_type"]) == (5, "rate_limit")
    assert not len(here.state.failures)


@pytest.mark.parametrize(
    "event",
    [
        {"type": "partial_result", "text": "some"},
        {"type": "partial_result", "step": "a", "data": 1},
        {"type": "partial_result_preserved", "preserved_data": {"a": 1}, "preserved_text": "x"},
        {"type": "recovery_attempt", "backoff_delay": 3},
        {"type": "resource_cleanup", "resources_cleaned": ["temp_files"]},
        {"type": "agent_error"},
    ],
)
async def test_a_report_is_completed_from_what_is_known(here: World, event: dict[str, Any]) -> None:
    answer = await publish(here, **event, **ABOUT)
    (told,) = here.events
    if event["type"] == "partial_result_preserved":
        await publish(here, type="agent_error", error_id=answer["error_id"], **ABOUT)
    assert (told["user_id"], told["agent_name"]) == ("ann", "search")
    assert {name: told[name] for name in event} == event


async def test_a_report_has_its_own_sentence_for_people_and_its_own_detail_for_operators(
    here: World,
) -> None:
    """Neither says what looks like a secret; nobody but operators sees the detail."""
    own = "Your import has stopped at row 7; token=" + PASSWORD
    seen = {"exit_code": 3, "stderr": f"Traceback\npassword={PASSWORD}"}
    await publish(here, type="agent_error", user_message=own, detail=seen, message="m", **ABOUT)
    (told,) = here.said("agent_error")
    assert told["user_message"].startswith("Your import has stopped at row 7; token=")
    detail = orjson.loads(here.entries[-1].operator)["detail"]
    assert (detail["exit_code"], detail["reported_message"]) == (3, "m")
    assert detail["stderr"].startswith("Traceback\npassword=")
    assert PASSWORD not in here.entries[-1].operator.decode()
    assert b"exit_code" not in here.entries[-1].public
    await publish(here, type="system_recovered", error_id=told["error_id"], **ABOUT)
    assert here.said("system_recovered")[0]["user_message"]


@pytest.mark.parametrize(("length", "taken"), [(500, True), (501, False)])
async def test_a_sentence_of_a_reports_own_is_bounded(
    here: World, length: int, taken: bool
) -> None:
    refusal = contextlib.nullcontext() if taken else pytest.raises(InvalidEvent)
    with refusal:
        await publish(here, type="agent_error", user_message="x" * length, **ABOUT)
    (told,) = here.said("agent_error")
    assert (told["user_message"] == "x" * length) is taken


async def test_a_type_without_a_code_is_told_as_such(here: World) -> None:
    """Whoever reports a timeout has not said that it was a language model's."""
    await publish(here, type="agent_error", error_type="timeout", **ABOUT)
    await publish(here, type="agent_error", error_type="timeout", error_code="llm_timeout", **ABOUT)
    first, second = here.said("agent_error")
    assert first["user_message"].startswith("This took too long (timeout).")
    assert second["user_message"].startswith("The language model took too long")


async def test_a_sentence_of_nothing_but_blanks_says_nothing(here: World) -> None:
    await publish(here, type="agent_error", user_message=" \n ", **ABOUT)
    assert here.said("agent_error")[0]["user_message"].strip()


@pytest.mark.parametrize(
    "changes",
    [
        {"error_code": "Not A Code"},
        {"detail": "no object"},
        {"user_message": 7},
        {"error_type": "unheard_of"},
        {"error_type": 3},
        {"is_recoverable": "yes"},
        {"agent_name": None},
        {"agent_name": "two words"},
        {"estimated_recovery_time": -1},
        {"foreign": 1},
        {"subject": "task/1"},
        {"state": {"outcome": {"breaker": "a", "generation": 0, "probe": None, "kind": "failure"}}},
        {"severity": "error"},
        {"timestamp": "2026-11-22T05:04:54.123Z"},
        {"error_id": "not-an-id"},
        {"error_id": 3},
        {"estimated_recovery_time": float("nan")},
        {"correlation_id": "\ud800"},
        {"message": "x" * 300_000},
        {"max_attempts": 2**70},
    ],
)
async def test_a_failure_report_that_does_not_comply_is_not_silent(
    here: World, changes: dict[str, Any]
) -> None:
    """The publisher is told field and rule, and the user is told that something failed."""
    with pytest.raises((InvalidEvent, InvalidParams, TooLarge)) as refused:
        await publish(here, **{"type": "agent_error", **ABOUT, **changes})
    assert refused.value.field
    (error,) = here.said("agent_error")
    assert (error["user_id"], error["error_type"], error["error_code"]) == (
        "ann",
        "validation_error",
        "event_invalid",
    )
    assert len(here.entries[0].operator) < 64 * 1024


@pytest.mark.parametrize("name", ["github", "jwt", "azure openai", "openai project"])
async def test_what_operators_see_of_a_refused_report_has_no_secret(here: World, name: str) -> None:
    """A refusal repeats what was sent, and half a key does not look like one."""
    key = KEYS[name]
    for changes in (
        {"error_type": key},
        {"message": f"{'word ' * 60_000}{key}"},
        {key: 1},
        {"error_code": key, "message": f"password={PASSWORD}"},
        {"is_recoverable": f"Bearer {key}", "user_message": "x " * 250 + key},
    ):
        with pytest.raises((InvalidEvent, InvalidParams, TooLarge)) as refused:
            await publish(here, **{"type": "agent_error", **ABOUT, **changes})
        said = f"{refused.value} {refused.value.data()}"
        shown = said + here.entries[-1].operator.decode()
        shown = shown.replace("[redacted:api-key]", "").replace("[redacted:secret]", "")
        assert [part for part in fragments(key) | fragments(PASSWORD) if part in shown] == [], shown
    with pytest.raises((InvalidEvent, InvalidParams)) as refused:
        await publish(here, type=key)
    assert [part for part in fragments(key) if part in str(refused.value)] == []


async def test_a_failure_report_without_a_user_is_still_told(here: World) -> None:
    with pytest.raises(InvalidEvent) as refused:
        await publish(here, type="agent_error", agent_name="search")
    assert refused.value.field == "user_id"
    assert here.said("agent_error")[0]["agent_name"] == "search"


async def test_other_reports_that_do_not_comply_are_refused_alone(here: World) -> None:
    with pytest.raises(InvalidEvent):
        await publish(here, type="partial_result", **ABOUT)
    assert here.events == []


@pytest.mark.parametrize("type", sorted(PUBLISHABLE_BY_AGENTS))
async def test_no_report_is_for_every_user_or_about_a_task_that_is_not_held(
    here: World, type: str
) -> None:
    with pytest.raises(NotPermitted):
        await publish(here, type=type, user_id="*", agent_name="search")
    task_id = await here.submit("nobody")
    with pytest.raises(InvalidParams) as refused:
        await publish(here, type=type, task_id=task_id, **ABOUT)
    assert refused.value.field == "agent_id"
    worker = await here.call("agent.register", handle="nobody")
    proof = {"agent_id": worker["agent_id"], "agent_secret": worker["agent_secret"], "term": 1}
    said = {"text": "some"} if type == "partial_result" else {}
    with pytest.raises((StaleTerm, Conflict)):
        await publish(here, type=type, task_id=task_id, **proof, **ABOUT, **said)
    with pytest.raises(InvalidParams) as refused:
        await publish(here, type=type, task_id=task_id, **{**proof, "agent_secret": 5}, **ABOUT)
    assert refused.value.field == "agent_secret"
    assert here.types() == ["task_submitted", "agent_registered"]


@pytest.mark.parametrize(
    "changes",
    [
        {"scope": "breaker"},
        {"scope": "mode"},
        {"scope": "task"},
        {"degradation_id": "019abb2f-6c2a-7b10-8e55-0d9a7c4f1e02"},
        {"recovery_successful": False},
    ],
)
async def test_a_reported_recovery_is_of_what_was_reported(
    here: World, changes: dict[str, Any]
) -> None:
    """Breakers, modes and degradations end when the gateway says so."""
    answer = await publish(here, type="agent_error", **ABOUT)
    with pytest.raises(InvalidEvent):
        await publish(
            here, type="system_recovered", error_id=answer["error_id"], **ABOUT, **changes
        )
    assert [one.error_id for one in here.state.failures] == [answer["error_id"]]


async def test_a_failure_is_ended_only_for_the_user_it_was_reported_for(here: World) -> None:
    answer = await publish(here, type="agent_error", **ABOUT)
    bob: dict[str, Any] = {**ABOUT, "user_id": "bob"}
    with pytest.raises(NotFound):
        await publish(here, type="system_recovered", error_id=answer["error_id"], **bob)
    with pytest.raises(NotFound):
        await publish(here, type="system_recovered", error_id=here.engine.ids.uuid7(), **ABOUT)
    with pytest.raises(InvalidEvent) as refused:
        await publish(here, type="system_recovered", **ABOUT)
    assert refused.value.field == "error_id"


async def test_a_report_does_not_take_over_another_failure(here: World) -> None:
    """Neither a task's own nor another user's: what is open would be shown as something else."""

    @here.gateway.agent("limited")
    async def limited(task: Any) -> None:
        from gateway.errors import RateLimited

        raise RateLimited(retry_after=50.0)

    task_id = await here.submit("limited", user_id="ann")
    await here.passing(1)
    error_id = here.said("agent_error", task_id=task_id)[0]["error_id"]
    with pytest.raises(NotFound):
        await publish(here, type="agent_error", error_id=error_id, **ABOUT)
    answer = await publish(here, type="agent_error", **ABOUT)
    with pytest.raises(NotFound):
        await publish(
            here, type="agent_error", error_id=answer["error_id"], **{**ABOUT, "user_id": "bob"}
        )
    await publish(here, type="agent_error", error_id=answer["error_id"], **ABOUT)


# --- anything --------------------------------------------------------------------------------

FIELDS = (  # noqa: SIM905 - words are read as a list
    "user_id agent_name task_id attempt message error_id causation_id correlation_id traceparent "
    "domain agent_id recipient_id channel parent_event_id error_type error_code is_recoverable "
    "user_message suggested_action retry_possible estimated_recovery_time will_retry max_attempts "
    "cause preserved_data preserved_text lost_data progress confidence_reduced size sha256 "
    "truncated expires_at url strategy attempt_number backoff_delay next_attempt_at scope "
    "resources_cleaned memory_freed cleanup_status leftovers recovery_successful recovery_time "
    "attempts_made degradation_id text step data piece subject payload evicted state detail"
).split()


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    reports=st.lists(
        st.tuples(
            st.sampled_from(sorted(PUBLISHABLE_BY_AGENTS | {"notification"})),
            st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6),
            st.booleans(),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_whatever_is_published_complies_or_is_refused(
    reports: list[tuple[str, dict[str, Any], bool]],
) -> None:
    """A stranger's report never meets an error of ours, and never reaches every user."""

    async def one() -> None:
        async with world(complete=False) as here:
            for type, fields, about in reports:
                before = len(here.entries)
                report = {**(ABOUT if about else {}), **fields}
                try:
                    await publish(here, LOCAL_OPERATOR, type=type, **report)
                except RequestError:
                    assert len(here.entries) - before in ((0, 1) if type == "agent_error" else (0,))
                else:
                    assert len(here.entries) - before == 1
            assert all(event["user_id"] != "*" for event in here.events)
            # Reports may come in any order, which only their senders can put right.
            here.entries.clear()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(one())


# --- how much ----------------------------------------------------------------------------------


async def test_a_user_publishes_so_many_bytes_a_second_and_keeps_everybody_elses_history(
    open_world: OpenWorld,
) -> None:
    here = await open_world(log_bytes=4 * 1024**2)
    await publish(here, BOB, type="notification", subject="bob's", payload=1, channel="c")
    note = {"type": "notification", "subject": "s", "payload": "x" * 60_000, "channel": "c"}
    taken, waits = 0, []
    for _ in range(200):
        try:
            await publish(here, SENDER, **note)
            taken += 1
        except RateLimitedRequest as error:
            waits.append(error.retry_after or 0.0)
    assert 10 <= taken <= 18
    assert 0 < max(waits) <= 1
    assert here.said("notification", subject="bob's")
    # Others are not concerned, nor are operators; after the time that was told it goes on.
    await publish(here, BOB, **note)
    for _ in range(20):
        await publish(here, LOCAL_OPERATOR, **note)
    await here.passing(max(waits))
    await publish(here, SENDER, **note)


@pytest.mark.parametrize(
    "fields", [{"message": "x" * 4_000}, {"steps": [1], "detail": "x" * 9_000}]
)
async def test_reports_count_and_those_that_are_told_in_place_of_refused_ones(
    here: World, fields: dict[str, Any]
) -> None:
    async def report_until_it_is_too_much() -> None:
        for _ in range(2_000):
            with contextlib.suppress(InvalidEvent):
                await publish(here, type="agent_error", **ABOUT, **fields)

    with pytest.raises(RateLimitedRequest, match="65536 bytes a second"):
        await report_until_it_is_too_much()


async def test_without_a_rate_any_number_of_bytes_is_published(open_world: OpenWorld) -> None:
    here = await open_world(publish_bytes=0)
    for _ in range(40):
        await publish(
            here, SENDER, type="notification", subject="s", payload="x" * 60_000, channel="c"
        )
