"""
What the gateway has to do, row by row, where each row comes from, and which tests prove it.

A row is covered when a test makes the failure happen for real and asserts what can be observed.
The test says so by ``@pytest.mark.requirement("WS-01")`` and is listed in ``COVERED_BY``;
``test_requirements.py`` compares the two, both ways. ``python -m tests.requirements`` counts.

Rows without a ``W`` are scenarios of the original test suites; rows with a ``W`` are weaknesses
that were found in them.
"""

from __future__ import annotations

import ast
import dataclasses
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

__all__ = ["COVERED_BY", "REQUIREMENTS", "Requirement", "coverage_line", "marked_tests"]

TESTS = Path(__file__).parent


@dataclasses.dataclass(frozen=True, slots=True)
class Requirement:
    """
    One row.

    Attributes:
        id: ``WS-01``, ``MESH-W3``, …
        behaviour: What can be observed, in one sentence.
        source: Where it comes from.
        tests: Node ids of the tests that prove it.
        struck: Why it is not required after all; empty: it is.
        note: How the row is read, where that needs saying.
    """

    id: str
    behaviour: str
    source: str
    tests: tuple[str, ...] = ()
    struck: str = ""
    note: str = ""

    @property
    def state(self) -> Literal["covered", "open", "struck"]:
        """Struck beats covered: a row that is not required has no tests."""
        if self.struck:
            return "struck"
        return "covered" if self.tests else "open"


# Row id → the tests that prove it, as pytest names them from the top of the repository.
COVERED_BY: Mapping[str, tuple[str, ...]] = {
    "WS-01": (
        "tests/scenarios/test_errors.py::test_a_model_call_over_its_limit_reaches_its_owner_alone",
    ),
    "WS-02": (
        "tests/scenarios/test_breakers.py::test_the_fifth_failure_opens_once_and_the_sixth_request_does_not_reach_the_upstream",
    ),
    "WS-03": (
        "tests/scenarios/test_nodes.py::test_what_was_known_before_a_kill_is_known_after_it",
        "tests/scenarios/test_recoveries.py::test_finished_steps_are_kept_told_before_the_error_and_not_done_again",
        "tests/scenarios/test_workers.py::test_a_killed_worker_is_news_at_once_and_another_goes_on_from_where_it_was",
    ),
    "WS-05": (
        "tests/scenarios/test_recoveries.py::test_each_retry_is_announced_and_comes_when_announced",
    ),
    "WS-06": (
        "tests/scenarios/test_workers.py::test_a_worker_out_of_memory_is_replaced_and_cleaned_up_after",
        "tests/scenarios/test_workers.py::test_a_cleanup_that_failed_is_told_as_it_is",
    ),
    "WS-07": (
        "tests/scenarios/test_recoveries.py::test_a_connection_lost_at_sixty_percent_keeps_the_work_and_says_when_it_goes_on",
        "tests/scenarios/test_workers.py::test_a_connection_that_breaks_costs_nothing_and_doubles_nothing",
    ),
    "WS-08": ("tests/scenarios/test_errors.py::test_each_failure_says_what_it_is_and_what_to_do",),
    "WS-09": (
        "tests/scenarios/test_recoveries.py::test_after_a_transient_failure_there_is_one_recovery_and_then_normal_work",
    ),
    "WS-10": (
        "tests/scenarios/test_breakers.py::test_an_open_breaker_rejects_says_when_and_does_not_call_the_agent",
        "tests/scenarios/test_tool_errors.py::test_a_gateway_that_takes_no_more_says_when_to_come_back",
    ),
    "WS-11": (
        "tests/scenarios/test_breakers.py::test_half_open_lets_exactly_three_of_twenty_through",
    ),
    "WS-12": (
        "tests/scenarios/test_errors.py::test_every_real_failure_complies_with_the_published_schema",
    ),
    "WS-13": (
        "tests/scenarios/test_recoveries.py::test_an_agent_that_raises_is_replaced_by_its_fallback_and_the_user_is_told",
    ),
    "WS-14": (
        "tests/scenarios/test_errors.py::test_refused_credentials_are_told_and_not_tried_again",
    ),
    "WS-15": (
        "tests/scenarios/test_leases.py::test_three_workers_killed_together_are_three_failures_and_each_ends",
        "tests/scenarios/test_leases.py::test_a_crowd_is_listed_and_when_it_is_killed_each_of_its_tasks_is_a_failure_that_ends",
        "tests/scenarios/test_ledger.py::test_whatever_is_killed_every_task_is_finished_once_and_whole",
    ),
    "WS-16": (
        "tests/scenarios/test_recoveries.py::test_every_error_is_followed_by_its_recovery_or_its_end",
    ),
    "WS-17": ("tests/scenarios/test_errors.py::test_two_users_never_see_each_other",),
    "WS-18": (
        "tests/scenarios/test_nodes.py::test_a_browser_whose_node_is_killed_goes_on_at_the_other",
        "tests/scenarios/test_resuming.py::test_a_browser_cut_off_twenty_times_has_every_event_exactly_once",
    ),
    "WS-19": (
        "tests/scenarios/test_leases.py::test_a_worker_that_dies_or_hangs_is_told_of_and_another_does_its_work",
        "tests/scenarios/test_ledger.py::test_whatever_is_killed_every_task_is_finished_once_and_whole",
        "tests/scenarios/test_workers.py::test_a_killed_worker_is_news_at_once_and_another_goes_on_from_where_it_was",
        "tests/scenarios/test_workers.py::test_a_worker_that_is_stopped_loses_its_task_and_its_late_words_are_refused",
        "tests/scenarios/test_workers.py::test_killing_the_whole_worker_leaves_no_process_and_no_file_behind",
    ),
    "WS-W1": (
        "tests/scenarios/test_errors.py::test_a_model_call_over_its_limit_reaches_its_owner_alone",
        "tests/scenarios/test_the_proofs.py::test_no_test_uses_a_mock",
    ),
    "WS-W2": ("tests/scenarios/test_errors.py::test_each_failure_says_what_it_is_and_what_to_do",),
    "WS-W3": (
        "tests/scenarios/test_recoveries.py::test_finished_steps_are_kept_told_before_the_error_and_not_done_again",
    ),
    "WS-W4": (
        "tests/scenarios/test_breakers.py::test_a_client_cannot_simulate_failures_or_set_states",
    ),
    "WS-W5": (
        "tests/scenarios/test_workers.py::test_a_worker_out_of_memory_is_replaced_and_cleaned_up_after",
        "tests/scenarios/test_workers.py::test_a_cleanup_that_failed_is_told_as_it_is",
    ),
    "WS-W6": (
        "tests/scenarios/test_breakers.py::test_the_configured_threshold_is_the_one_that_acts",
    ),
    "WS-W7": ("tests/test_tidy.py::test_a_skipped_test_fails_the_run",),
    "WS-W8": (
        "tests/scenarios/test_errors.py::test_each_failure_says_what_it_is_and_what_to_do",
        "tests/scenarios/test_the_proofs.py::test_no_assertion_of_a_scenario_is_optional",
    ),
    "WS-W13": (
        "tests/execution/handlers/test_stats.py::test_each_failure_counts_once_and_what_became_of_the_work",
    ),
    "WS-W14": (
        "tests/scenarios/test_health.py::test_a_worker_that_lies_is_warned_of_quarantined_and_let_back_when_it_works",
    ),
    "WS-W9": (
        "tests/scenarios/test_errors.py::test_events_without_a_listener_are_kept_and_delivered_later",
    ),
    "WEFT-01": (
        "tests/scenarios/test_nodes.py::test_what_was_known_before_a_kill_is_known_after_it",
    ),
    "WEFT-02": (
        "tests/scenarios/test_nodes.py::test_a_gateway_killed_under_load_loses_nothing_and_doubles_nothing",
    ),
    "WEFT-03": (
        "tests/scenarios/test_nodes.py::test_what_is_written_on_one_node_is_read_on_the_other",
    ),
    "WEFT-04": (
        "tests/scenarios/test_nodes.py::test_a_gateway_cut_off_from_its_store_lives_says_so_and_agrees_afterwards",
    ),
    "WEFT-05": (
        "tests/scenarios/test_leases.py::test_a_crowd_is_listed_and_when_it_is_killed_each_of_its_tasks_is_a_failure_that_ends",
    ),
    "WEFT-08": (
        "tests/scenarios/test_leases.py::test_a_worker_that_dies_or_hangs_is_told_of_and_another_does_its_work",
        "tests/scenarios/test_ledger.py::test_whatever_is_killed_every_task_is_finished_once_and_whole",
        "tests/scenarios/test_workers.py::test_a_killed_worker_is_news_at_once_and_another_goes_on_from_where_it_was",
    ),
    "WEFT-09": (
        "tests/scenarios/test_leases.py::test_a_hung_worker_loses_its_lease_and_what_it_says_later_is_refused",
        "tests/scenarios/test_ledger.py::test_whatever_is_killed_every_task_is_finished_once_and_whole",
        "tests/scenarios/test_workers.py::test_a_worker_that_is_stopped_loses_its_task_and_its_late_words_are_refused",
    ),
    "WEFT-06": (
        "tests/execution/handlers/test_stats.py::test_after_any_operations_the_counts_are_those_of_a_simple_model",
        "tests/scenarios/test_quick_requests.py::test_the_statistics_are_what_the_operations_have_said",
        "tests/simulation/test_random_operations.py::test_whatever_is_asked_the_book_explains_the_answers",
        "tests/simulation/test_random_operations.py::test_on_nats_the_book_explains_the_answers",
    ),
    "WEFT-10": (
        "tests/scenarios/test_nodes.py::test_a_gateway_cut_off_from_its_store_lives_says_so_and_agrees_afterwards",
        "tests/scenarios/test_partitions.py::test_a_node_with_half_a_connection_to_its_store_does_no_harm",
        "tests/scenarios/test_partitions.py::test_no_caller_waits_for_a_store_that_stands_still",
    ),
    "WEFT-11": (
        "tests/execution/holders/test_locks.py::test_what_was_written_is_told_though_another_holder_was_quicker_than_the_answer",
        "tests/scenarios/test_quick_writes.py::test_of_a_thousand_quick_writes_to_one_subject_none_is_lost",
    ),
    "WEFT-12": (
        "tests/scenarios/test_quick_requests.py::test_nothing_is_left_of_many_requests_by_each_door",
        "tests/scenarios/test_quick_requests.py::test_a_thousand_quick_requests_are_all_answered_also_when_all_is_deleted",
    ),
    "WEFT-13": (
        "tests/scenarios/test_coordination.py::test_fifty_registrations_at_once_have_identities_of_their_own",
        "tests/scenarios/test_leases.py::test_twenty_workers_that_register_one_handle_at_once_have_ids_of_their_own",
    ),
    "WEFT-14": (
        "tests/scenarios/test_leases.py::test_twenty_workers_that_register_one_handle_at_once_have_ids_of_their_own",
    ),
    "WEFT-16": (
        "tests/scenarios/test_nodes.py::test_a_store_that_is_killed_and_restarted_costs_an_attempt_at_the_most",
        "tests/scenarios/test_partitions.py::test_a_cluster_that_loses_its_leader_loses_nothing_else",
    ),
    "WEFT-17": (
        "tests/scenarios/test_nodes.py::test_a_store_that_is_killed_and_restarted_costs_an_attempt_at_the_most",
    ),
    "WEFT-18": (
        "tests/worker/test_keeper.py::test_what_a_process_was_given_and_never_began_does_not_wait_for_the_lease",
        "tests/scenarios/test_nodes.py::test_what_was_known_before_a_kill_is_known_after_it",
        "tests/scenarios/test_workers.py::test_a_killed_process_comes_back_as_the_same_worker",
    ),
    "WEFT-19": (
        "tests/scenarios/test_leases.py::test_a_gateway_that_is_asked_to_stop_waits_for_its_workers_and_ends_every_task",
        "tests/scenarios/test_nodes.py::test_a_gateway_told_to_stop_leaves_open_tasks_to_the_next_one",
        "tests/scenarios/test_workers.py::test_a_worker_asked_to_stop_finishes_its_tasks_and_says_goodbye",
        "tests/scenarios/test_workers.py::test_the_gateway_asks_a_worker_to_leave",
    ),
    "WEFT-20": (
        "tests/scenarios/test_leases.py::test_five_workers_share_the_load_and_each_task_is_done_once",
        "tests/scenarios/test_ledger.py::test_workers_that_compete_do_each_item_once",
    ),
    "WEFT-W1": (
        "tests/scenarios/test_nodes.py::test_a_gateway_cut_off_from_its_store_lives_says_so_and_agrees_afterwards",
        "tests/scenarios/test_partitions.py::test_no_caller_waits_for_a_store_that_stands_still",
    ),
    "WEFT-W2": (
        "tests/scenarios/test_modes.py::test_more_than_it_can_take_is_refused_in_order_and_told",
    ),
    "WEFT-W3": (
        "tests/scenarios/test_quick_requests.py::test_nothing_is_left_of_many_requests_by_each_door",
        "tests/scenarios/test_quick_requests.py::test_a_thousand_quick_requests_are_all_answered_also_when_all_is_deleted",
    ),
    "WEFT-W4": (
        "tests/scenarios/test_nodes.py::test_a_gateway_killed_under_load_loses_nothing_and_doubles_nothing",
    ),
    "WEFT-W5": (
        "tests/scenarios/test_nodes.py::test_a_store_that_is_killed_and_restarted_costs_an_attempt_at_the_most",
        "tests/scenarios/test_partitions.py::test_a_cluster_that_loses_its_leader_loses_nothing_else",
    ),
    "WEFT-W6": (
        "tests/scenarios/test_nodes.py::test_a_gateway_cut_off_from_its_store_lives_says_so_and_agrees_afterwards",
    ),
    "WEFT-W7": (
        "tests/scenarios/test_leases.py::test_a_worker_that_dies_or_hangs_is_told_of_and_another_does_its_work",
    ),
    "WEFT-W9": (
        "tests/scenarios/test_leases.py::test_a_worker_that_dies_or_hangs_is_told_of_and_another_does_its_work",
    ),
    "WEFT-W10": (
        "tests/scenarios/test_leases.py::test_a_worker_that_dies_or_hangs_is_told_of_and_another_does_its_work",
    ),
    "WEFT-W14": (
        "tests/execution/handlers/test_task_moves.py::test_a_move_is_made_by_who_may_make_it_in_a_state_that_allows_it",
        "tests/scenarios/test_leases.py::test_a_wrong_request_is_refused_the_same_through_both_doors_and_changes_nothing",
    ),
    "WEFT-W16": (
        "tests/scenarios/test_leases.py::test_a_hung_worker_loses_its_lease_and_what_it_says_later_is_refused",
    ),
    "WEFT-W18": (
        "tests/execution/handlers/test_stats.py::test_counts_and_impacts_outlive_the_process",
        "tests/execution/handlers/test_stats.py::test_after_any_operations_the_counts_are_those_of_a_simple_model",
    ),
    "WEFT-W20": (
        "tests/execution/guards/test_breakers_held.py::test_a_retry_after_holds_the_upstream_for_all_its_agents_then_they_come_in_a_ramp",
        "tests/execution/holders/test_runner.py::test_as_many_attempts_run_at_once_as_there_are_slots",
        "tests/execution/holders/test_waits.py::test_a_breaker_that_opens_tells_each_owner_once_until_when",
        "tests/scenarios/test_bounds.py::test_no_more_tasks_run_at_once_than_may",
        "tests/scenarios/test_breakers.py::test_an_open_breaker_rejects_says_when_and_does_not_call_the_agent",
        "tests/scenarios/test_breakers.py::test_the_fifth_failure_opens_once_and_the_sixth_request_does_not_reach_the_upstream",
        "tests/scenarios/test_leases.py::test_a_worker_that_hangs_over_the_limit_is_a_timeout_and_its_slot_is_free",
        "tests/scenarios/test_upstreams.py::test_a_retry_after_holds_the_upstream_of_all_workers_then_they_begin_in_a_ramp",
        "tests/scenarios/test_upstreams.py::test_what_one_node_was_told_holds_the_others_and_one_that_begins",
    ),
    "WEFT-W21": (
        "tests/app/test_serve.py::test_an_open_gateway_listens_nowhere_else",
        "tests/domain/test_queue.py::test_the_most_urgent_comes_first_and_then_the_first_that_came",
        "tests/scenarios/test_leases.py::test_a_gateway_that_is_asked_to_stop_waits_for_its_workers_and_ends_every_task",
        "tests/scenarios/test_metrics.py::test_each_metric_moves_as_much_as_has_happened",
        "tests/transports/test_bad_input.py::test_without_the_right_nothing_is_done_by_any_door",
    ),
    "WEFT-W22": (
        "tests/scenarios/test_leases.py::test_an_identity_belongs_to_the_worker_that_proves_it",
    ),
    "MESH-09": (
        "tests/scenarios/test_leases.py::test_a_hung_worker_loses_its_lease_and_what_it_says_later_is_refused",
        "tests/scenarios/test_leases.py::test_a_claim_over_http_of_a_worker_that_was_killed_runs_out",
        "tests/scenarios/test_ledger.py::test_whatever_is_killed_every_task_is_finished_once_and_whole",
        "tests/scenarios/test_nodes.py::test_a_worker_and_its_node_are_killed_and_the_other_node_gives_its_task_on",
        "tests/scenarios/test_audited_claims.py::test_scenario_3_a_crashed_agent_is_found_and_its_task_goes_on_elsewhere",
    ),
    "MESH-10": (
        "tests/scenarios/test_leases.py::test_a_silent_worker_is_marked_without_being_asked_about",
        "tests/scenarios/test_audited_claims.py::test_scenario_3_a_crashed_agent_is_found_and_its_task_goes_on_elsewhere",
    ),
    "MESH-11": (
        "tests/scenarios/test_leases.py::test_a_hung_worker_loses_its_lease_and_what_it_says_later_is_refused",
    ),
    "MESH-12": (
        "tests/scenarios/test_notifications.py::test_an_addressed_notification_reaches_its_recipient_alone_by_every_door",
        "tests/scenarios/test_notifications.py::test_notifications_and_threads_outlive_the_gateway",
        "tests/scenarios/test_audited_claims.py::test_scenario_5_alerts_reach_their_recipient_and_channel_and_can_be_read_later",
        "tests/scenarios/test_audited_claims.py::test_scenario_5_a_direct_message_goes_to_the_agent_that_it_names",
    ),
    "MESH-13": (
        "tests/scenarios/test_notifications.py::test_a_notification_to_a_channel_reaches_each_listener_once",
        "tests/scenarios/test_audited_claims.py::test_scenario_5_alerts_reach_their_recipient_and_channel_and_can_be_read_later",
    ),
    "MESH-14": (
        "tests/execution/handlers/test_events.py::test_paging_loses_nothing_of_a_thousand_events_of_one_moment",
        "tests/scenarios/test_notifications.py::test_pages_lose_nothing_of_what_came_at_once",
    ),
    "MESH-15": (
        "tests/execution/handlers/test_events.py::test_a_thread_is_read_whole_by_those_who_are_in_it",
        "tests/execution/handlers/test_publishing.py::test_answers_name_what_is_there_and_what_the_sender_may_see",
        "tests/execution/handlers/test_publishing.py::test_a_thread_is_bounded_and_says_so",
        "tests/scenarios/test_notifications.py::test_a_thread_is_its_root_and_its_replies",
    ),
    "MESH-17": (
        "tests/scenarios/test_coordination.py::test_fifty_registrations_at_once_have_identities_of_their_own",
        "tests/scenarios/test_leases.py::test_an_identity_belongs_to_the_worker_that_proves_it",
    ),
    "MESH-18": (
        "tests/execution/handlers/test_task_moves.py::test_a_move_is_made_by_who_may_make_it_in_a_state_that_allows_it",
        "tests/execution/handlers/test_task_moves.py::test_an_allowed_move_leads_where_it_should",
        "tests/execution/handlers/test_task_moves.py::test_progress_out_of_its_bounds_is_refused_with_the_field",
        "tests/scenarios/test_leases.py::test_a_wrong_request_is_refused_the_same_through_both_doors_and_changes_nothing",
    ),
    "MESH-W2": (
        "tests/scenarios/test_leases.py::test_a_worker_that_dies_or_hangs_is_told_of_and_another_does_its_work",
        "tests/scenarios/test_audited_claims.py::test_scenario_3_a_crashed_agent_is_found_and_its_task_goes_on_elsewhere",
    ),
    "MESH-W5": (
        "tests/scenarios/test_leases.py::test_a_worker_that_dies_or_hangs_is_told_of_and_another_does_its_work",
        "tests/scenarios/test_locks.py::test_a_lock_whose_holder_was_killed_is_free_when_its_time_is_over",
        "tests/scenarios/test_audited_claims.py::test_scenario_3_a_crashed_agent_is_found_and_its_task_goes_on_elsewhere",
    ),
    "MESH-W6": (
        "tests/scenarios/test_leases.py::test_a_hung_worker_loses_its_lease_and_what_it_says_later_is_refused",
    ),
    "MESH-W8": (
        "tests/scenarios/test_leases.py::test_a_silent_worker_is_marked_without_being_asked_about",
    ),
    "MESH-W11": (
        "tests/execution/holders/test_claims_with_locks.py::test_to_claim_again_is_the_same_claim_with_the_same_lock",
        "tests/scenarios/test_leases.py::test_a_claim_asked_for_twice_is_one_claim",
        "tests/scenarios/test_audited_claims.py::test_scenario_2_the_claim_that_failed_is_given_and_every_refusal_can_be_read",
    ),
    "MESH-W14": (
        "tests/scenarios/test_leases.py::test_a_worker_that_dies_or_hangs_is_told_of_and_another_does_its_work",
        "tests/scenarios/test_audited_claims.py::test_scenario_3_a_crashed_agent_is_found_and_its_task_goes_on_elsewhere",
    ),
    "FLUX-01": (
        "tests/scenarios/test_leases.py::test_a_worker_that_dies_or_hangs_is_told_of_and_another_does_its_work",
        "tests/scenarios/test_leases.py::test_a_socket_that_stays_open_in_silence_loses_its_task_and_serves_again_when_healed",
        "tests/scenarios/test_ledger.py::test_whatever_is_killed_every_task_is_finished_once_and_whole",
    ),
    "FLUX-02": (
        "tests/scenarios/test_leases.py::test_a_socket_that_stays_open_in_silence_loses_its_task_and_serves_again_when_healed",
        "tests/scenarios/test_ledger.py::test_whatever_is_killed_every_task_is_finished_once_and_whole",
    ),
    "FLUX-03": (
        "tests/scenarios/test_health.py::test_a_worker_that_lies_is_warned_of_quarantined_and_let_back_when_it_works",
        "tests/execution/holders/test_quarantine.py::test_a_worker_that_beats_and_finishes_nothing_is_warned_of_then_gets_nothing",
        "tests/execution/holders/test_quarantine.py::test_what_a_quarantined_worker_holds_goes_back_under_a_higher_term",
    ),
    "FLUX-04": (
        "tests/scenarios/test_health.py::test_a_worker_that_lies_is_warned_of_quarantined_and_let_back_when_it_works",
        "tests/execution/holders/test_quarantine.py::test_time_releases_a_worker_which_gets_one_task_at_a_time_until_it_succeeds",
    ),
    "FLUX-05": (
        "tests/scenarios/test_domains.py::test_where_workers_die_work_slows_down_alone_and_comes_back_when_it_heals",
        "tests/execution/guards/test_domains.py::test_a_domain_that_fails_too_often_is_slowed_down_alone",
    ),
    "FLUX-06": (
        "tests/scenarios/test_domains.py::test_where_workers_die_work_slows_down_alone_and_comes_back_when_it_heals",
        "tests/execution/guards/test_domains.py::test_three_probes_that_succeed_bring_it_back_to_full_speed",
    ),
    "FLUX-15": (
        "tests/scenarios/test_domains.py::test_where_workers_die_work_slows_down_alone_and_comes_back_when_it_heals",
        "tests/scenarios/test_domains.py::test_a_zone_whose_probe_dies_is_slowed_down_again_and_heals_by_results_alone",
        "tests/execution/guards/test_domains.py::test_three_probes_that_succeed_bring_it_back_to_full_speed",
        "tests/execution/guards/test_domains.py::test_a_probe_that_fails_slows_it_down_again_for_a_cooldown_of_its_own",
        "tests/domain/test_failure_domain.py::test_it_is_closed_when_every_probe_has_succeeded",
        "tests/domain/test_failure_domain.py::test_one_probe_that_fails_opens_it_again",
    ),
    "FLUX-W6": (
        "tests/domain/test_failure_domain.py::test_the_window_slides",
        "tests/execution/guards/test_domains.py::test_failures_that_are_longer_ago_than_the_window_slow_nothing_down",
    ),
    "FLUX-W11": (
        "tests/scenarios/test_domains.py::test_a_zone_whose_probe_dies_is_slowed_down_again_and_heals_by_results_alone",
        "tests/execution/guards/test_domains.py::test_a_probe_that_fails_slows_it_down_again_for_a_cooldown_of_its_own",
        "tests/execution/guards/test_domains.py::test_a_probe_that_is_given_back_or_cancelled_holds_no_permit",
        "tests/domain/test_failure_domain.py::test_one_probe_that_fails_opens_it_again",
        "tests/domain/test_failure_domain.py::test_a_probe_that_says_nothing_gives_its_permit_back",
    ),
    "FLUX-08": (
        "tests/scenarios/test_modes.py::test_more_than_it_can_take_is_refused_in_order_and_told",
    ),
    "FLUX-09": (
        "tests/scenarios/test_modes.py::test_what_is_really_busy_is_degraded_and_gets_well",
    ),
    "FLUX-10": (
        "tests/scenarios/test_modes.py::test_an_operators_mode_is_pushed_refuses_and_ends",
    ),
    "FLUX-19": (
        "tests/scenarios/test_modes.py::test_an_operators_mode_is_pushed_refuses_and_ends",
    ),
    "FLUX-W4": (
        "tests/scenarios/test_modes.py::test_an_operators_mode_is_pushed_refuses_and_ends",
    ),
    "FLUX-W5": (
        "tests/domain/test_health.py::test_one_more_failure_never_raises_a_score",
        "tests/domain/test_health.py::test_a_worker_that_fails_and_moves_never_falls_below_a_half",
        "tests/execution/holders/test_quarantine.py::test_a_worker_that_beats_and_finishes_nothing_is_warned_of_then_gets_nothing",
    ),
    "FLUX-W7": (
        "tests/scenarios/test_modes.py::test_what_is_really_busy_is_degraded_and_gets_well",
    ),
    "FLUX-W8": (
        "tests/scenarios/test_modes.py::test_more_than_it_can_take_is_refused_in_order_and_told",
    ),
    "FLUX-07": (
        "tests/scenarios/test_crowds.py::test_agents_that_come_back_at_once_are_all_served",
    ),
    "MESH-19": (
        "tests/scenarios/test_crowds.py::test_a_reader_that_stops_costs_the_others_nothing_and_is_freed",
    ),
    "MESH-W18": (
        "tests/scenarios/test_crowds.py::test_clients_behind_a_cable_that_is_cut_are_found_by_their_silence",
    ),
    "MESH-W19": (
        "tests/scenarios/test_crowds.py::test_a_reader_that_is_too_slow_is_told_what_it_has_lost",
    ),
    "FLUX-W10": ("tests/domain/test_overload.py::test_each_measure_counts_when_it_has_lasted",),
    "FLUX-12": (
        "tests/scenarios/test_nodes.py::test_a_gateway_killed_under_load_loses_nothing_and_doubles_nothing",
    ),
    "FLUX-14": (
        "tests/scenarios/test_floods.py::test_a_storm_of_one_user_is_told_when_to_come_back_and_others_do_not_notice",
    ),
    "FLUX-16": (
        "tests/scenarios/test_leases.py::test_a_worker_that_hangs_over_the_limit_is_a_timeout_and_its_slot_is_free",
    ),
    "FLUX-17": (
        "tests/scenarios/test_metrics.py::test_each_metric_moves_as_much_as_has_happened",
        "tests/transports/test_metrics.py::test_a_freed_reader_counts",
        "tests/transports/test_metrics.py::test_a_gap_counts",
        "tests/transports/test_metrics.py::test_no_client_can_make_series_without_end",
        "tests/transports/test_metrics.py::test_the_page_names_every_value_of_a_label",
    ),
    "FLUX-W18": ("tests/transports/test_metrics.py::test_the_page_names_exactly_what_is_exported",),
    "FLUX-W1": (
        "tests/scenarios/test_nodes.py::test_a_gateway_killed_under_load_loses_nothing_and_doubles_nothing",
    ),
    "FLUX-W2": (
        "tests/scenarios/test_claim_histories.py::test_no_term_has_two_holders_whichever_node_is_asked",
        "tests/scenarios/test_nodes.py::test_what_is_written_on_one_node_is_read_on_the_other",
        "tests/scenarios/test_nodes.py::test_a_browser_whose_node_is_killed_goes_on_at_the_other",
        "tests/scenarios/test_partitions.py::test_a_node_with_half_a_connection_to_its_store_does_no_harm",
    ),
    "FLUX-W17": (
        "tests/scenarios/test_leases.py::test_a_hung_worker_loses_its_lease_and_what_it_says_later_is_refused",
    ),
    "FLUX-W19": ("tests/test_tidy.py::test_no_key_is_in_the_repository",),
    "FLUX-W20": (
        "tests/execution/holders/test_quarantine.py::test_the_proof_of_quarantine_fails_when_that_is_switched_off",
        "tests/execution/guards/test_domains.py::test_the_proof_fails_when_no_rate_is_too_high",
    ),
    "MESH-01": (
        "tests/execution/holders/test_locks.py::test_a_lock_that_runs_out_is_told_and_the_next_holder_has_a_new_id_and_term",
        "tests/scenarios/test_locks.py::test_a_lock_whose_holder_was_killed_is_free_when_its_time_is_over",
        "tests/scenarios/test_audited_claims.py::test_scenario_1_locks_of_a_crashed_agent_end_at_their_time_and_can_be_taken_again",
    ),
    "MESH-02": (
        "tests/execution/holders/test_locks.py::test_the_holder_that_acquires_again_has_the_same_lock_for_longer",
        "tests/execution/holders/test_locks.py::test_a_lock_that_runs_out_is_told_and_the_next_holder_has_a_new_id_and_term",
        "tests/scenarios/test_locks.py::test_a_lock_whose_holder_was_killed_is_free_when_its_time_is_over",
        "tests/scenarios/test_audited_claims.py::test_scenario_1_locks_of_a_crashed_agent_end_at_their_time_and_can_be_taken_again",
        "tests/scenarios/test_audited_claims.py::test_scenario_4_a_lock_that_is_taken_twice_is_renewed_and_never_has_two_owners",
    ),
    "MESH-03": (
        "tests/execution/holders/test_locks.py::test_a_lock_that_is_held_is_refused_with_its_holder_and_the_time_left",
        "tests/execution/holders/test_locks.py::test_of_two_nodes_that_ask_at_once_one_gets_the_lock",
        "tests/scenarios/test_locks.py::test_a_lock_whose_holder_was_killed_is_free_when_its_time_is_over",
        "tests/scenarios/test_locks.py::test_processes_that_race_for_a_lock_never_hold_it_at_once",
        "tests/scenarios/test_audited_claims.py::test_scenario_4_a_lock_that_is_taken_twice_is_renewed_and_never_has_two_owners",
        "tests/scenarios/test_tool_errors.py::test_whoever_wants_a_held_lock_is_told_its_holder_and_when_to_come_back",
        "tests/simulation/test_random_operations.py::test_whatever_is_asked_the_book_explains_the_answers",
        "tests/simulation/test_random_operations.py::test_on_nats_the_book_explains_the_answers",
    ),
    "MESH-04": (
        "tests/execution/holders/test_locks.py::test_a_lock_that_ran_out_is_not_revived_though_no_timer_came_by",
        "tests/execution/holders/test_locks.py::test_only_its_holder_renews_a_lock",
        "tests/scenarios/test_locks.py::test_a_holder_that_comes_too_late_is_refused",
    ),
    "MESH-05": (
        "tests/execution/holders/test_locks.py::test_a_lock_that_was_released_is_free_and_stays_released",
        "tests/execution/holders/test_locks.py::test_a_lock_that_expired_stays_expired",
        "tests/scenarios/test_locks.py::test_a_holder_that_comes_too_late_is_refused",
    ),
    "MESH-W10": (
        "tests/execution/holders/test_locks.py::test_a_lock_that_ran_out_is_not_revived_though_no_timer_came_by",
        "tests/scenarios/test_locks.py::test_a_holder_that_comes_too_late_is_refused",
    ),
    "MESH-W15": (
        "tests/execution/holders/test_locks.py::test_the_name_of_a_holder_belongs_to_the_user_that_uses_it",
        "tests/scenarios/test_sign_in.py::test_what_was_not_issued_for_this_gateway_opens_no_door",
        "tests/transports/test_mcp.py::test_without_a_good_token_nothing_is_answered",
        "tests/transports/test_mcp.py::test_a_session_gives_nothing_to_another_user",
        "tests/transports/test_mcp.py::test_a_foreign_page_is_refused",
        "tests/scenarios/test_tool_errors.py::test_what_is_anothers_is_refused_and_stays_as_it_was",
    ),
    "MESH-08": (
        "tests/transports/test_mcp.py::test_the_claim_of_the_audit_is_given_and_its_errors_can_be_read",
        "tests/transports/test_mcp.py::test_garbage_is_answered_and_harms_nothing",
        "tests/transports/test_mcp.py::test_every_error_can_be_read_by_a_strict_client",
        "tests/transports/test_mcp_tools.py::test_a_refusal_is_a_result_for_the_model_to_read",
        "tests/transports/test_mcp_tools.py::test_wrong_parameters_are_an_error_of_the_protocol",
        "tests/scenarios/test_three_doors.py::test_a_scenario_has_the_same_answers_and_events_by_every_way",
        "tests/scenarios/test_audited_claims.py::test_scenario_2_the_claim_that_failed_is_given_and_every_refusal_can_be_read",
        "tests/scenarios/test_tool_errors.py::test_a_tool_takes_what_its_schema_takes_and_refuses_the_rest",
        "tests/scenarios/test_tool_errors.py::test_an_event_is_taken_if_it_complies_with_the_schema_of_its_type",
    ),
    "MESH-W1": (
        "tests/transports/test_mcp.py::test_the_claim_of_the_audit_is_given_and_its_errors_can_be_read",
        "tests/scenarios/test_audited_claims.py::test_scenario_2_the_claim_that_failed_is_given_and_every_refusal_can_be_read",
    ),
    "MESH-W16": (
        "tests/transports/test_api_fuzzed.py::test_nothing_that_is_sent_finds_a_mistake",
        "tests/transports/test_bad_input.py::test_every_operation_refuses_what_it_does_not_take_by_each_door",
        "tests/transports/test_mcp.py::test_garbage_is_answered_and_harms_nothing",
        "tests/transports/test_mcp.py::test_every_error_can_be_read_by_a_strict_client",
        "tests/scenarios/test_tool_errors.py::test_a_tool_takes_what_its_schema_takes_and_refuses_the_rest",
    ),
    "MESH-W17": (
        "tests/scenarios/test_notifications.py::test_an_addressed_notification_reaches_its_recipient_alone_by_every_door",
        "tests/transports/test_mcp.py::test_a_caller_and_a_worker_need_nothing_but_tools",
        "tests/scenarios/test_three_doors.py::test_a_scenario_has_the_same_answers_and_events_by_every_way",
        "tests/scenarios/test_audited_claims.py::test_scenario_5_alerts_reach_their_recipient_and_channel_and_can_be_read_later",
    ),
    "MESH-W3": (
        "tests/execution/holders/test_locks.py::test_a_lock_that_runs_out_is_told_and_the_next_holder_has_a_new_id_and_term",
        "tests/scenarios/test_locks.py::test_a_lock_whose_holder_was_killed_is_free_when_its_time_is_over",
        "tests/scenarios/test_audited_claims.py::test_scenario_1_locks_of_a_crashed_agent_end_at_their_time_and_can_be_taken_again",
    ),
    "MESH-W7": (
        "tests/execution/tasks/test_dead_letters.py::test_attempts_that_are_used_up_are_a_letter_with_every_error_and_the_same_input",
        "tests/scenarios/test_dead_letters.py::test_a_task_that_kills_each_of_its_workers_is_one_letter_and_so_is_its_retry",
        "tests/scenarios/test_dead_letters.py::test_an_agent_that_kills_its_worker_three_times_is_one_letter",
        "tests/scenarios/test_audited_claims.py::test_scenario_2_a_task_whose_claims_keep_failing_is_kept_for_the_operators",
    ),
    "WEFT-07": (
        "tests/execution/tasks/test_dead_letters.py::test_attempts_that_are_used_up_are_a_letter_with_every_error_and_the_same_input",
        "tests/execution/tasks/test_dead_letters.py::test_a_letter_outlives_its_task_and_is_retried_all_the_same",
        "tests/execution/tasks/test_dead_letters.py::test_letters_outlive_the_gateway_and_the_entries_that_told_of_them",
        "tests/scenarios/test_dead_letters.py::test_a_task_that_kills_each_of_its_workers_is_one_letter_and_so_is_its_retry",
        "tests/scenarios/test_dead_letters.py::test_an_agent_that_kills_its_worker_three_times_is_one_letter",
        "tests/scenarios/test_dead_letters.py::test_letters_outlive_the_gateway_and_the_log_that_told_of_them",
    ),
    "WEFT-21": (
        "tests/execution/handlers/test_dead_letters.py::test_letters_are_listed_newest_first_in_pages",
        "tests/execution/handlers/test_dead_letters.py::test_letters_are_filtered",
        "tests/execution/tasks/test_dead_letters.py::test_a_retry_is_a_new_task_with_the_same_order_and_the_letter_names_it",
        "tests/execution/tasks/test_dead_letters.py::test_a_retry_that_fails_again_is_a_letter_of_its_own",
        "tests/execution/tasks/test_dead_letters.py::test_a_discarded_letter_is_gone_and_that_is_recorded",
        "tests/scenarios/test_dead_letters.py::test_a_task_that_kills_each_of_its_workers_is_one_letter_and_so_is_its_retry",
        "tests/scenarios/test_dead_letters.py::test_an_operator_looks_after_letters_on_the_command_line",
        "tests/scenarios/test_dead_letters.py::test_letters_outlive_the_gateway_and_the_log_that_told_of_them",
    ),
    "WEFT-W11": (
        "tests/execution/tasks/test_dead_letters.py::test_attempts_that_are_used_up_are_a_letter_with_every_error_and_the_same_input",
        "tests/scenarios/test_dead_letters.py::test_a_task_that_kills_each_of_its_workers_is_one_letter_and_so_is_its_retry",
        "tests/scenarios/test_dead_letters.py::test_an_agent_that_kills_its_worker_three_times_is_one_letter",
    ),
    "WEFT-W12": (
        "tests/execution/tasks/test_dead_letters.py::test_attempts_that_are_used_up_are_a_letter_with_every_error_and_the_same_input",
        "tests/execution/tasks/test_dead_letters.py::test_a_retry_is_a_new_task_with_the_same_order_and_the_letter_names_it",
        "tests/scenarios/test_dead_letters.py::test_a_task_that_kills_each_of_its_workers_is_one_letter_and_so_is_its_retry",
    ),
    "WEFT-W13": (
        "tests/execution/tasks/test_dead_letters.py::test_a_retry_that_fails_again_is_a_letter_of_its_own",
        "tests/execution/tasks/test_dead_letters.py::test_retries_at_once_make_one_task",
        "tests/execution/tasks/test_dead_letters.py::test_retries_at_once_on_two_nodes_make_one_task",
        "tests/scenarios/test_dead_letters.py::test_a_task_that_kills_each_of_its_workers_is_one_letter_and_so_is_its_retry",
    ),
    "MESH-W9": (
        "tests/execution/holders/test_claims_with_locks.py::test_of_workers_on_two_nodes_that_claim_with_one_lock_one_has_task_and_lock",
        "tests/execution/holders/test_locks.py::test_of_two_nodes_that_ask_at_once_one_gets_the_lock",
        "tests/scenarios/test_locks.py::test_processes_that_race_for_a_lock_never_hold_it_at_once",
        "tests/simulation/test_random_operations.py::test_whatever_is_asked_the_book_explains_the_answers",
    ),
    "FLUX-11": (
        "tests/domain/test_queue.py::test_waiting_lifts_a_task_one_step_each_ten_seconds_and_never_past_one",
        "tests/execution/holders/test_claims_in_turn.py::test_under_a_constant_flow_of_urgent_tasks_the_least_urgent_is_done_and_p0_is_first",
    ),
    "FLUX-W9": (
        "tests/domain/test_queue.py::test_waiting_lifts_a_task_one_step_each_ten_seconds_and_never_past_one",
    ),
    "FLUX-13": (
        "tests/scenarios/test_coordination.py::test_twenty_orders_under_one_key_at_once_are_one_task_by_both_doors",
        "tests/scenarios/test_coordination.py::test_a_refusal_is_not_remembered_under_its_key",
        "tests/scenarios/test_kept_tasks.py::test_a_key_stands_for_its_task_after_the_gateway_was_killed",
    ),
    "FLUX-18": (
        "tests/scenarios/test_kept_tasks.py::test_the_trail_of_a_task_is_in_order_and_outlives_the_gateway",
    ),
    "FLUX-W14": (
        "tests/scenarios/test_coordination.py::test_a_refusal_is_not_remembered_under_its_key",
    ),
    "MESH-06": (
        "tests/execution/holders/test_claims_with_locks.py::test_a_claim_takes_the_task_and_the_lock_in_one_append",
        "tests/scenarios/test_coordination.py::test_of_fifty_that_claim_a_task_with_a_lock_one_has_both_and_the_others_left_nothing",
        "tests/scenarios/test_kept_tasks.py::test_a_claim_and_its_lock_outlive_the_gateway_and_end_together_on_any_node",
        "tests/scenarios/test_three_doors.py::test_a_scenario_has_the_same_answers_and_events_by_every_way",
        "tests/scenarios/test_audited_claims.py::test_scenario_2_the_claim_that_failed_is_given_and_every_refusal_can_be_read",
    ),
    "MESH-07": (
        "tests/execution/holders/test_claims_with_locks.py::test_a_claim_whose_lock_is_held_takes_nothing",
        "tests/execution/holders/test_claims_with_locks.py::test_a_claim_of_a_task_that_cannot_be_taken_leaves_no_lock",
        "tests/execution/holders/test_claims_with_locks.py::test_of_workers_on_two_nodes_that_claim_with_one_lock_one_has_task_and_lock",
        "tests/scenarios/test_coordination.py::test_of_fifty_that_claim_a_task_with_a_lock_one_has_both_and_the_others_left_nothing",
        "tests/scenarios/test_coordination.py::test_a_claim_of_a_held_lock_is_refused_with_holder_and_retry_after_by_each_door",
        "tests/scenarios/test_audited_claims.py::test_scenario_2_the_claim_that_failed_is_given_and_every_refusal_can_be_read",
        "tests/simulation/test_random_operations.py::test_whatever_is_asked_the_book_explains_the_answers",
    ),
    "MESH-W12": (
        "tests/execution/holders/test_claims_with_locks.py::test_a_claim_takes_the_task_and_the_lock_in_one_append",
        "tests/execution/holders/test_claims_with_locks.py::test_a_claim_whose_lock_is_held_takes_nothing",
        "tests/scenarios/test_coordination.py::test_of_fifty_that_claim_a_task_with_a_lock_one_has_both_and_the_others_left_nothing",
    ),
    "MESH-W13": (
        "tests/execution/holders/test_claims_with_locks.py::test_the_lock_ends_in_the_append_that_takes_the_task_from_its_holder",
        "tests/execution/holders/test_claims_with_locks.py::test_the_lock_ends_when_its_holder_is_lost",
        "tests/scenarios/test_kept_tasks.py::test_a_claim_and_its_lock_outlive_the_gateway_and_end_together_on_any_node",
    ),
    "MESH-W4": (
        "tests/execution/holders/test_claims_with_locks.py::test_claims_that_wait_for_a_lock_get_it_in_their_order",
        "tests/scenarios/test_coordination.py::test_a_claim_of_a_held_lock_is_refused_with_holder_and_retry_after_by_each_door",
        "tests/scenarios/test_coordination.py::test_one_task_wakes_the_first_of_fifty_that_wait_and_the_others_go_on_waiting",
        "tests/scenarios/test_audited_claims.py::test_scenario_2_the_claim_that_failed_is_given_and_every_refusal_can_be_read",
        "tests/scenarios/test_tool_errors.py::test_whoever_wants_a_held_lock_is_told_its_holder_and_when_to_come_back",
    ),
    "WEFT-15": (
        "tests/scenarios/test_coordination.py::test_twenty_orders_under_one_key_at_once_are_one_task_by_both_doors",
        "tests/scenarios/test_coordination.py::test_five_hundred_orders_at_once_are_five_hundred_tasks_also_when_repeated",
        "tests/scenarios/test_kept_tasks.py::test_a_key_stands_for_its_task_after_the_gateway_was_killed",
    ),
    "WS-04": (
        "tests/scenarios/test_modes.py::test_a_full_queue_is_told_to_everyone_with_what_still_works_also_to_who_comes_later",
    ),
    "WS-W10": (
        "tests/scenarios/test_causes.py::test_tasks_that_fail_one_after_the_other_go_back_to_one_root",
        "tests/scenarios/test_causes.py::test_what_has_recovered_is_the_cause_of_nothing",
    ),
    "WEFT-W8": (
        "tests/execution/holders/test_presence.py::test_a_worker_that_is_heard_is_kept_however_long_ago_it_registered",
    ),
    "WEFT-W15": (
        "tests/scenarios/test_bounds.py::test_cancelled_tasks_are_let_go_of_within_a_bound",
        "tests/scenarios/test_bounds.py::test_a_strangers_progress_is_refused_and_moves_nothing",
    ),
    "WEFT-W17": (
        "tests/scenarios/test_breakers.py::test_half_open_lets_exactly_three_of_twenty_through",
        "tests/scenarios/test_nodes.py::test_a_gateway_cut_off_from_its_store_lives_says_so_and_agrees_afterwards",
    ),
    "WEFT-W19": (
        "tests/scenarios/test_filters.py::test_every_filter_of_every_list_chooses_by_the_field_of_its_name",
        "tests/scenarios/test_filters.py::test_whatever_is_taken_already_is_a_conflict_and_no_error_of_the_server",
    ),
    "MESH-W20": (
        "tests/scenarios/test_notifications.py::test_events_are_pushed_and_found_by_topic_kind_thread_and_position",
    ),
    "FLUX-W3": (
        "tests/scenarios/test_dead_letters.py::test_a_task_that_kills_each_of_its_workers_is_one_letter_and_so_is_its_retry",
        "tests/scenarios/test_dead_letters.py::test_an_operator_looks_after_letters_on_the_command_line",
    ),
    "FLUX-W12": (
        "tests/scenarios/test_kept_tasks.py::test_the_queue_of_a_killed_gateway_goes_on_with_priorities_and_times_on_any_node",
    ),
    "FLUX-W13": (
        "tests/scenarios/test_nodes.py::test_a_gateway_cut_off_from_its_store_lives_says_so_and_agrees_afterwards",
        "tests/scenarios/test_quick_writes.py::test_of_a_thousand_quick_writes_to_one_subject_none_is_lost",
    ),
    "FLUX-W15": (
        "tests/scenarios/test_ids.py::test_every_id_is_a_uuid_that_no_other_gateway_makes",
    ),
    "FLUX-W16": (
        "tests/scenarios/test_coordination.py::test_tries_that_fail_leave_the_term_and_its_holder_alone",
    ),
    "WS-W11": (
        "tests/test_figures.py::test_the_page_is_what_the_benchmarks_write",
        "tests/test_figures.py::test_each_benchmark_gives_the_rows_of_its_table",
    ),
    "WS-W12": (
        "tests/test_figures.py::test_the_page_is_what_the_benchmarks_write",
        "tests/test_figures.py::test_each_benchmark_gives_the_rows_of_its_table",
    ),
    "MESH-W21": (
        "tests/test_figures.py::test_the_page_is_what_the_benchmarks_write",
        "tests/test_figures.py::test_each_benchmark_gives_the_rows_of_its_table",
    ),
}

# Row id → why it is not required after all.
STRUCK: Mapping[str, str] = {
    "WEFT-22": "an idle worker costs nothing, so nothing drains it",
    "MESH-16": "nothing is to be reconciled by hand: the monitors always run",
}

# Row id → how it is read.
NOTES: Mapping[str, str] = {
    "WS-W12": "by a benchmark that publishes the figures, not as a timed test",
    "WEFT-01": "without the same last heartbeat: heartbeats are not kept",
    "WEFT-13": "targets are agent registrations, and names may be shared (WEFT-14)",
    "WEFT-20": "giving an item back is task.release",
    "MESH-W20": "push, threads and search by kind and time; receipts and full text come later",
    "FLUX-01": "unknown is the agent_lost error of the attempt",
    "FLUX-02": "tasks of a lost worker are not paused for it but reassigned",
    "FLUX-W2": "one node on the memory store, said plainly, and a tested fast restart",
}

_SOURCES: Mapping[str, str] = {
    "WS": "original test suite for WebSocket error propagation",
    "WEFT": "original test suite for a fleet coordinator's failures",
    "MESH": "original audits of locks, claims and messages between agents",
    "FLUX": "original runbook and tests of a task scheduler",
}

# Sources of single rows that are more exact than their table's.
_SOURCES_OF_ROWS: Mapping[str, str] = {
    "WS-12": "original test suite for WebSocket error propagation; JSON Schema 2020-12",
    "WS-17": "original test plan for WebSocket error propagation, item 5",
    "WS-18": "original test plan for WebSocket error propagation, item 4",
    "WS-19": "the backend behind the original WebSocket tests, event agent_death",
    "WEFT-01": "original test suite for a fleet coordinator's failures, FAIL-001",
    "WEFT-02": "original test suite for a fleet coordinator's failures, FAIL-002",
    "WEFT-03": "original test suite for a fleet coordinator's failures, FAIL-003",
    "WEFT-04": "original test suite for a fleet coordinator's failures, FAIL-004",
    "WEFT-05": "original test suite for a fleet coordinator's failures, FAIL-005",
    "WEFT-06": "original test suite for a fleet coordinator's failures, FAIL-006",
    "MESH-03": "original audits of locks; RFC 9110, 15.5.10 and 10.2.3",
    "MESH-08": "original audits of claims; JSON-RPC 2.0, section 5.1",
    "MESH-W1": "original audits of claims, P0-1 and P0-2; JSON-RPC 2.0, section 5.1",
    "FLUX-08": "original runbook and tests of a task scheduler; RFC 9110, 15.6.4",
    "FLUX-14": "original load test of a task scheduler; RFC 6585, section 4",
}

_BEHAVIOURS: Mapping[str, str] = {
    # --- WS: errors reach the browser ----------------------------------------------------------
    "WS-01": "a model call over its limit gives its owner, and no other user, one agent_error "
    "of type timeout within a second",
    "WS-02": "the fifth failure in a row opens the breaker: one event per opening, and the "
    "next request does not reach the upstream",
    "WS-03": "finished steps of a failed attempt are kept, and their event comes before the error",
    "WS-04": "a degraded gateway tells every affected user what still works, late joiners "
    "in their first frames",
    "WS-05": "each recovery attempt is announced with a growing delay, and the real delays match",
    "WS-06": "after a resource failure the cleanup event says what the operating system confirms",
    "WS-07": "a connection lost at 60 % gives a network error, the kept progress and the next try",
    "WS-08": "each failure says to people what it is, what to do and how long it takes, "
    "and gives nothing internal away",
    "WS-09": "after a transient failure there is exactly one recovery, before the normal answer",
    "WS-10": "while the breaker is open a request is rejected with a time, by HTTP 503 too, "
    "and the agent is not called",
    "WS-11": "after the cooldown exactly three requests pass; success closes, one failure reopens",
    "WS-12": "every real failure's event complies with the schema that the gateway publishes",
    "WS-13": "an agent that raises is replaced by its fallback, and the user is told",
    "WS-14": "an upstream that refuses the credentials is asked once, and the user is told",
    "WS-15": "agents that fail together are told apart, and each failure ends",
    "WS-16": "every error_id is followed by a recovery or an end with the same id",
    "WS-17": "no user sees another user's events",
    "WS-18": "a browser that was away resumes where it was, with nothing missing or twice",
    "WS-19": "an agent that dies or hangs without a word is told of within the heartbeat limit",
    "WS-W1": "the proofs run against real parts: no mock stands for a part of the gateway",
    "WS-W2": "class and exact kind of an error are two fields, so that both can be asked for",
    "WS-W3": "there is one event for kept results, and progress is a share between 0 and 1",
    "WS-W4": "a client cannot simulate failures or set breaker states by what it sends",
    "WS-W5": "freed memory and cleanup status are measured, never asserted",
    "WS-W6": "outcomes, ids and thresholds are real: the configured threshold is the one that acts",
    "WS-W7": "a test that is skipped fails the run",
    "WS-W8": "every assertion of a proof is made unconditionally",
    "WS-W9": "an event is kept before it is delivered, so that no missing socket loses it",
    "WS-W10": "a failure that causes another is named by it as its cause, down to one root",
    "WS-W11": "delivery times under load are measured and published",
    "WS-W12": "times from failure to notice and to recovery are measured and published",
    "WS-W13": "the impact on each user can be asked for: failures, degraded minutes, results kept",
    "WS-W14": "a falling health score warns before the quarantine",
    # --- WEFT: agents and work survive -----------------------------------------------------------
    "WEFT-01": "registered agents are still listed after the gateway was killed and started",
    "WEFT-02": "submitted work can be read, also after the gateway was killed and started",
    "WEFT-03": "what one gateway writes another one on the same log reads",
    "WEFT-04": "health tells that the process lives, readiness that the store answers",
    "WEFT-05": "agents that register at once are all listed, and a goodbye marks one offline",
    "WEFT-06": "the statistics equal an independent count after any operations",
    "WEFT-07": "a task that keeps killing its worker is in the dead letters once, with every error",
    "WEFT-08": "the gateway itself detects a crashed agent and offers its work again",
    "WEFT-09": "a hung agent is told to be stale, and its return doubles no work",
    "WEFT-10": "in a partition each write is answered with success or a clear error, "
    "and the store agrees afterwards",
    "WEFT-11": "quick writes to one subject lose none: a conflict is reported",
    "WEFT-12": "a thousand quick requests are all answered, also right after every agent is gone",
    "WEFT-13": "parallel registrations get ids of their own",
    "WEFT-14": "many workers may share one handle, each with its own id",
    "WEFT-15": "parallel submissions are all accepted once; the same key gives the same task",
    "WEFT-16": "a restart of the store is lived through: tries are told, the state is intact",
    "WEFT-17": "work in flight at a store's restart resumes or is tried again, never both",
    "WEFT-18": "an agent that returns after a crash and proves itself is the same agent",
    "WEFT-19": "asked to stop, gateway and agents finish within the grace and say goodbye",
    "WEFT-20": "competing workers share the load and no task is done twice",
    "WEFT-21": "dead letters can be listed, retried and discarded, and each is an event",
    "WEFT-22": "an idle agent is told of and drained",
    "WEFT-W1": "a store that does not answer gives 503 within a limit, and nothing hangs",
    "WEFT-W2": "load beyond the limits is refused early, by priority",
    "WEFT-W3": "connections are kept alive and used again",
    "WEFT-W4": "accepted work is in the log, not in a process's memory alone",
    "WEFT-W5": "the store's restart is tested without a hand",
    "WEFT-W6": "a partition ends without harm on either side",
    "WEFT-W7": "lost agents are marked offline: by the gateway",
    "WEFT-W8": "an agent's age counts from its last heartbeat, not from its registration",
    "WEFT-W9": "claimed work of a crashed worker is offered again",
    "WEFT-W10": "a lease covers work in every active state, so that none is stuck for ever",
    "WEFT-W11": "retries that are used up fill the dead letters",
    "WEFT-W12": "every attempt and the dead letter carry the same payload",
    "WEFT-W13": "retry and dead letter are one step each, and no second failure is swallowed",
    "WEFT-W14": "only the holder may complete a task, and only while it is active",
    "WEFT-W15": "finished tasks are kept within bounds, and a stranger's progress is refused",
    "WEFT-W16": "a late heartbeat cannot undo what was decided since",
    "WEFT-W17": "readiness and recovery are probed for real, never just said",
    "WEFT-W18": "statistics count every agent, and an agent can be read right after a restart",
    "WEFT-W19": "one word per thing in every filter and field, and a conflict is no server error",
    "WEFT-W20": "concurrency limits and cooldowns act, and an event of a change comes once",
    "WEFT-W21": "metrics, graceful stop, priorities and access rights are there from the start",
    "WEFT-W22": "an agent can write about itself only",
    # --- MESH: locks, claims, messages -----------------------------------------------------------
    "MESH-01": "a dead owner's lock is free at its time, a waiting agent gets it, and it is told",
    "MESH-02": "the owner renews under the same id; each new holder has a new id and a higher term",
    "MESH-03": "a held lock answers others with a conflict and the time left; "
    "there are never two holders",
    "MESH-04": "renewing works in time and for the owner only, even before anyone saw the expiry",
    "MESH-05": "a released or expired lock stays so, and a second release changes nothing",
    "MESH-06": "a claim gives the task and its lock together, the same through every door",
    "MESH-07": "a refused claim leaves no lock behind",
    "MESH-08": "every error of a claim is one that a strict JSON-RPC client can read",
    "MESH-09": "an expired lease offers the task again, and the old owner's late result is refused",
    "MESH-10": "a silent agent is marked within the limit without anyone asking",
    "MESH-11": "an agent that comes back is told of and gets no stale lease back",
    "MESH-12": "an addressed message reaches its recipient live and later, and no other",
    "MESH-13": "a message to a channel reaches each of its listeners once",
    "MESH-14": "paging loses nothing among events of the same moment",
    "MESH-15": "a thread is its root and its replies in order, bounded, without circles",
    "MESH-16": "reconciling counts truly and changes nothing the second time",
    "MESH-17": "two processes with one name never silently share an identity",
    "MESH-18": "only allowed moves of a task, only by its holder, only progress in bounds",
    "MESH-19": "a reader that does not read holds up no other reader and is told what it missed",
    "MESH-W1": "errors of a claim have integer codes and the text code in their data",
    "MESH-W2": "a dead worker's tasks are reassigned without anyone asking, as an event",
    "MESH-W3": "a lock's expiry is told by a timer, not by a later read",
    "MESH-W4": "a claim can wait in a fair queue, and is otherwise told when to come back",
    "MESH-W5": "a lost socket makes suspect at once, missing heartbeats prove it",
    "MESH-W6": "heartbeats renew the lease, and a hung worker's lease runs out",
    "MESH-W7": "work whose claims keep failing ends in the dead letters",
    "MESH-W8": "staleness goes by time alone, whatever status the agent reports",
    "MESH-W9": "at most one live lock per resource, however many ask at once",
    "MESH-W10": "expiry is final at its time, for renewing and releasing alike",
    "MESH-W11": "a second claim by the holder is the same claim",
    "MESH-W12": "a claim checks first and takes task and lock in one step",
    "MESH-W13": "completing a task frees its claim and its locks",
    "MESH-W14": "stalled tasks are taken up again by default, without a switch",
    "MESH-W15": "every door identifies its caller, and no token is taken from a URL",
    "MESH-W16": "no garbage from a caller ends the process",
    "MESH-W17": "whatever door an event came in by, it is pushed the same way",
    "MESH-W18": "dead sockets are found by silence, not at the next send, and nothing leaks",
    "MESH-W19": "a reader that lost events is told the range",
    "MESH-W20": "events can be searched by topic, kind, thread and position, and come pushed",
    "MESH-W21": "published figures are generated from measurements",
    # --- FLUX: the scheduler under load ----------------------------------------------------------
    "FLUX-01": "a worker that is cut off is unhealthy within the limit, and its tasks get an end",
    "FLUX-02": "after a reconnect each task has run once",
    "FLUX-03": "an agent that beats but does nothing loses its score, then its work",
    "FLUX-04": "a quarantined agent that works again is let back step by step",
    "FLUX-05": "a failing domain is slowed down alone; the others keep their speed",
    "FLUX-06": "a healed domain is probed, then at full speed, and that is told",
    "FLUX-07": "a thousand agents that reconnect at once are all served while the API answers",
    "FLUX-08": "a full queue refuses the lowest priority first, and never priority 0",
    "FLUX-09": "overload makes the gateway degraded within a second, and it leaves without "
    "flapping",
    "FLUX-10": "operators set the modes: nothing new is taken, what runs is finished",
    "FLUX-11": "low priority does run in the end, never ahead of priority 0",
    "FLUX-12": "a gateway killed at any moment loses and doubles nothing",
    "FLUX-13": "the same key has one effect and one answer, per user, also in parallel",
    "FLUX-14": "a caller that asks too often is told when to come back, and others do not notice",
    "FLUX-15": "a breaker goes through its states by results alone",
    "FLUX-16": "a task over its limit ends, and its slot is free again",
    "FLUX-17": "every documented metric exists and moves when it should, with bounded labels",
    "FLUX-18": "a task's events tell its life in order",
    "FLUX-19": "a change of mode or breaker is pushed at once",
    "FLUX-W1": "a crash of the gateway makes no user submit again",
    "FLUX-W2": "two gateways on one log stay consistent, or one says plainly that it is alone",
    "FLUX-W3": "a poisonous task ends in the dead letters and can be discarded by an operator",
    "FLUX-W4": "operators' doors ask for operators' rights",
    "FLUX-W5": "more failures never raise a health score, and a new agent starts at the top",
    "FLUX-W6": "a domain's failures are counted in a window that slides",
    "FLUX-W7": "the degraded mode is entered by the gateway itself",
    "FLUX-W8": "a breaker of the queue never refuses priority 0 within its own limit",
    "FLUX-W9": "the order of waiting tasks is total: effective priority, then age",
    "FLUX-W10": "saturation has one scale and one limit",
    "FLUX-W11": "a half-open breaker reopens on failure and cannot stay half-open for ever",
    "FLUX-W12": "the queue is read from the log, with priority and time of submission",
    "FLUX-W13": "a write that cannot be taken is refused, never dropped",
    "FLUX-W14": "server errors are not remembered under an idempotency key",
    "FLUX-W15": "every id is unique: UUIDs, never timestamps or constants",
    "FLUX-W16": "a term grows only with a new holder, never by a failed try",
    "FLUX-W17": "waiting can be cancelled, and a late result of a stranger is refused",
    "FLUX-W18": "the documented metrics are the ones that exist",
    "FLUX-W19": "no key or token is in the repository",
    "FLUX-W20": "a test fails when what it proves is switched off",
}

REQUIREMENTS: tuple[Requirement, ...] = tuple(
    Requirement(
        id=row,
        behaviour=behaviour,
        source=_SOURCES_OF_ROWS.get(row, _SOURCES[row.partition("-")[0]]),
        tests=COVERED_BY.get(row, ()),
        struck=STRUCK.get(row, ""),
        note=NOTES.get(row, ""),
    )
    for row, behaviour in _BEHAVIOURS.items()
)


def marked_tests() -> dict[str, tuple[str, ...]]:
    """
    Read from the tests' source which rows each test names by its marker: row id → node ids.

    From the source rather than from a collection, so that it is the same whatever is selected.

    Raises:
        ValueError: If a marker is anywhere but on a test or its class, or if one of its
            arguments is not a plain string.
    """
    found: dict[str, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        name = path.relative_to(TESTS.parent).as_posix()
        tree = ast.parse(path.read_bytes())
        for node, rows in _tests_in(tree, ()):
            for row in rows:
                found.setdefault(row, []).append(f"{name}::{node}")
    return {row: tuple(found[row]) for row in sorted(found)}


def coverage_line() -> str:
    """Say in one line how many rows are covered, struck and open."""
    states = [row.state for row in REQUIREMENTS]
    return (
        f"requirements: {states.count('covered')} of {len(states)} rows covered, "
        f"{states.count('struck')} struck, {states.count('open')} open"
    )


def _tests_in(
    scope: ast.Module | ast.ClassDef, inherited: tuple[str, ...]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Give the tests of a module or class with the rows that they name, outer markers too."""
    for node in scope.body:
        match node:
            case ast.ClassDef() if node.name.startswith("Test"):
                for name, rows in _tests_in(node, inherited + _rows(node.decorator_list)):
                    yield f"{node.name}::{name}", rows
            case ast.FunctionDef() | ast.AsyncFunctionDef() if node.name.startswith("test"):
                rows = inherited + _rows(node.decorator_list)
                yield node.name, tuple(dict.fromkeys(rows))
            case _ if any(_is_marker(part) for part in ast.walk(node)):
                raise ValueError(f"line {node.lineno}: the marker belongs on a test or its class")


def _rows(decorators: list[ast.expr]) -> tuple[str, ...]:
    rows = []
    for marker in filter(_is_marker, decorators):
        assert isinstance(marker, ast.Call)
        for argument in marker.args:
            if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
                raise ValueError(f"line {marker.lineno}: not a row id: {ast.unparse(marker)}")
            rows.append(argument.value)
    return tuple(rows)


def _is_marker(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.requirement"


if __name__ == "__main__":
    sys.stdout.write(coverage_line() + "\n")
