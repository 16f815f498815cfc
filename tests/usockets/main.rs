//! The semantics of uSockets one by one: what is told, in which order, and what may be done meanwhile; on each network a
//! program may find itself on. `src/usockets/mod.rs` has the table that these tests are about.
#![cfg(all(target_os = "linux", feature = "usockets"))]

#[cfg(feature = "tls")]
#[path = "../common/certs.rs"]
#[allow(dead_code, reason = "other tests need more of it")]
mod certs;
#[path = "../common/mod.rs"]
mod common;

mod adopt;
mod defer;
mod embedding;
mod end;
mod errors;
mod flow;
mod handles;
mod local;
mod names;
mod open;
mod polls;
mod rugs;
#[cfg(feature = "tls")]
mod secure;
mod timeouts;
mod timers;
mod turn;
mod wire;
mod world;

/// Each test once per network.
macro_rules! on_every_network {
    ($($module:ident: $($test:ident)+;)+) => {
        mod kernel {
            $(mod $module {
                $(
                    #[test]
                    fn $test() {
                        crate::$module::$test(&crate::world::Network::kernel());
                    }
                )+
            })+
        }

        mod memory {
            $(mod $module {
                $(
                    #[test]
                    fn $test() {
                        let network = crate::world::Network::memory();
                        crate::$module::$test(&network);
                        assert_eq!(network.frames_in_flight(), 0, "every frame has come home");
                    }
                )+
            })+
        }
    };
}

on_every_network! {
    turn:
        an_iteration_has_its_order
        nothing_to_do_is_the_end
        what_keeps_a_loop_alive
        a_loop_can_be_stepped_after_its_end
        iterations_are_counted
        the_loop_has_user_data
        numbers_are_told;
    open:
        both_sides_are_told
        a_listener_knows_its_address
        a_port_is_shared_or_exclusive
        what_cannot_be_listened_on_is_said
        a_connect_that_fails_is_told_once
        a_new_connect_may_follow_in_the_callback
        a_connect_can_be_taken_back
        a_source_can_be_chosen
        user_data_can_be_given_to_a_connect
        a_connection_can_be_refused_before_it_opens
        accepting_stops_when_the_listener_is_closed
        everybody_is_accepted
        a_socket_may_be_closed_when_it_opens;
    names:
        localhost_is_here
        nobody_has_that_name
        a_search_can_be_given_up
        every_address_of_a_name_is_tried;
    flow:
        data_is_told_as_it_comes
        data_can_be_changed_where_it_lies
        two_pieces_are_one_write
        what_waits_for_more_leaves_when_flushed
        writable_is_told_once_after_a_short_write
        a_short_write_in_on_writable_is_told_again
        a_paused_socket_is_told_of_no_data
        reading_can_be_shut_down
        much_goes_both_ways_at_once
        no_socket_starves_the_others;
    end:
        the_end_is_told_once_and_closes_nothing
        both_halves_are_the_whole
        data_before_the_end_is_not_lost_when_ours_was_shut_down
        both_may_end_at_once
        the_end_may_be_answered_in_its_callback
        a_reset_is_a_close_with_a_reason
        data_that_came_before_a_reset_is_delivered
        a_close_with_unread_data_tells_the_peer
        a_close_is_told_at_once_and_once
        data_behind_a_close_is_not_told
        a_close_in_on_close_is_told_after_it
        another_context_is_told_within
        what_was_written_before_a_close_arrives
        a_run_ends_when_everything_is_delivered
        a_context_closes_all_it_has
        a_context_may_be_closed_in_its_callbacks
        the_last_clone_of_a_context_closes_it
        what_waits_in_the_queue_is_reset_with_the_listener
        a_close_of_all_ends_though_others_come
        a_loop_ends_though_a_peer_does_not
        a_paused_socket_keeps_what_came_before_the_end;
    adopt:
        a_socket_moves_with_its_data
        interest_and_shutdown_are_kept
        it_may_move_in_its_callbacks
        what_is_closed_cannot_be_adopted
        a_child_is_a_context_of_its_own
        user_data_is_dropped_once_at_the_end_of_the_iteration
        user_data_is_dropped_with_the_loop
        user_data_can_be_held_while_the_loop_is_used;
    handles:
        a_closed_socket_does_nothing
        what_outlives_the_loop_is_harmless
        things_are_dropped_in_every_order
        a_loop_may_be_dropped_with_all_it_has
        a_callback_may_be_replaced_in_itself
        a_context_without_callbacks_works
        objects_can_be_made_in_callbacks
        two_loops_in_a_thread_are_two
        a_panic_in_a_callback_leaves_nothing_behind
        types_are_what_they_are_said_to_be;
    rugs:
        a_context_may_be_dropped_in_its_own_callback
        a_client_may_drop_its_context
        a_listener_may_be_closed_before_its_connection_opens
        a_socket_may_move_before_it_is_connected
        a_conversion_may_close_what_it_converts
        timers_may_close_all_there_is;
    timeouts:
        they_fire_with_the_sweep
        a_connect_may_time_out
        the_sweep_does_not_keep_a_loop_alive
        both_kinds_count_for_themselves
        adopting_and_connecting_clear_them
        a_sweep_may_close_and_move_everybody
        a_sweep_within_a_sweep_loses_nothing;
    timers:
        once_is_once
        it_repeats_until_it_is_disarmed
        missed_periods_are_one
        many_fire_in_their_order
        it_may_be_closed_and_set_in_its_own_callback
        a_callback_owns_nothing
        a_detached_timer_is_the_loops
        it_has_user_data
        times_that_make_no_sense_are_refused_or_harmless
        one_timer_may_close_another;
    defer:
        before_the_run
        from_other_threads
        a_run_sleeps_and_is_woken
        all_three_forms
        from_inside_it_is_the_next_iteration
        a_simple_run_leaves_it
        what_is_left_is_dropped_with_the_loop
        a_loop_that_ends_while_others_defer
        sockets_can_be_used_from_deferred_work
        a_panic_in_one_does_not_lose_the_loop;
    errors:
        of_loops
        of_timers
        of_contexts
        of_sockets
        all_say_something;
    embedding:
        there_is_room_around_what_is_received
        the_last_of_two_data_callbacks_counts
        a_listener_has_a_factory_of_its_own
        wake_ups_are_told_once
        a_sweep_can_be_had_at_once
        a_loop_says_whether_it_is_alive_and_drains;
    polls:
        what_is_so_is_told_in_every_iteration
        it_keeps_the_loop_alive_unless_told_otherwise
        a_loop_sleeps_until_a_descriptor_is_ready
        it_may_be_changed_and_stopped_in_callbacks
        what_cannot_be_watched_is_said;
    local:
        a_path_is_as_good_as_an_address
        much_goes_over_a_path_and_the_reader_may_pause
        a_path_without_anybody_is_a_connect_error
        a_connection_from_elsewhere_can_be_adopted
        connections_can_be_handed_on_before_they_open
        a_connection_of_the_network_itself_may_be_handed_on_if_it_has_a_descriptor;
    wire:
        much_goes_both_ways
        what_was_written_before_a_close_arrives
        half_a_connection_answers
        a_reset_reaches_the_other_loop;
}

/// What must hold over a bad line too: nothing is lost, nothing is told that is not so, however late it comes.
mod bad_line {
    use crate::world::Network;

    const FAULTS: &str = "&loss=2%&dup=1%&reorder=2%&delay=200us&min_rto=5ms&faults=rx";

    fn bad() -> Network {
        Network::memory_with(FAULTS)
    }

    #[test]
    fn much_goes_both_ways() {
        crate::wire::much_goes_both_ways(&bad());
    }

    #[test]
    fn what_was_written_before_a_close_arrives() {
        crate::wire::what_was_written_before_a_close_arrives(&bad());
    }

    #[test]
    fn half_a_connection_answers() {
        crate::wire::half_a_connection_answers(&bad());
    }

    #[test]
    fn a_reset_reaches_the_other_loop() {
        crate::wire::a_reset_reaches_the_other_loop(&bad());
    }
}
