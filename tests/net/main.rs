//! The table of `nethuns_rs::net`, line by line, on each network a program may find itself on.
#![cfg(all(target_os = "linux", feature = "net"))]

mod bulk;
mod end;
mod flow;
mod local;
mod open;
mod udp;
mod wake;
mod watch;
mod world;

/// Each test once per network.
macro_rules! on_every_network {
    ($($module:ident: $($test:ident)+;)+) => {
        mod kernel {
            $($(
                #[test]
                fn $test() {
                    crate::$module::$test(&mut crate::world::World::kernel());
                }
            )+)+
        }

        mod memory {
            $($(
                #[test]
                fn $test() {
                    crate::$module::$test(&mut crate::world::World::memory());
                }
            )+)+
        }
    };
}

on_every_network! {
    open:
        a_connect_that_succeeds_is_told
        accept_is_told_until_the_queue_is_empty
        data_before_accept_is_told_after_it
        a_refused_connect_is_told
        the_local_end_can_be_chosen
        what_is_known_at_once_is_said_at_once
        names_outlive_nothing
        unlisten_resets_those_who_wait
        options_are_read_as_they_were_set
        the_programs_word_stays;
    flow:
        data_is_told_again_when_more_comes
        received_bytes_can_be_held_while_the_network_is_used
        received_bytes_can_be_looked_at_and_left
        there_is_room_around_received_bytes
        room_is_told_after_a_short_send_only
        a_paused_connection_is_not_told_of
        parts_arrive_as_one_stream
        what_waits_for_company_leaves_when_flushed;
    end:
        the_end_of_a_stream
        half_a_connection_goes_on
        both_ends_is_closed
        a_reset_is_told
        an_abort_loses_what_was_not_sent_and_tells_nothing_here
        sending_is_refused_before_and_after
        reading_can_be_ended
        what_was_sent_before_close_arrives;
    bulk:
        bytes_arrive_in_order_both_ways
        a_slow_reader_loses_nothing
        many_connections_at_once;
    udp:
        datagrams_tell_where_they_came_from_and_went
        batches_keep_order_and_size
        a_connected_socket_hears_its_peer_only
        nobody_there_is_told_once
        too_long_is_refused;
    wake:
        a_poll_is_woken_from_another_thread
        a_wake_before_the_poll_counts
        time_passes_when_nothing_happens;
    watch:
        a_level_is_told_with_every_poll
        what_is_not_asked_for_any_more_is_not_told
        what_cannot_be_watched_is_said
        a_poll_waits_for_descriptors_too
        a_descriptor_can_be_handed_from_one_watch_to_the_next;
    local:
        a_path_is_as_good_as_an_address
        over_a_path_a_slow_reader_loses_nothing
        half_a_path_goes_on_and_its_end_is_an_end
        what_lies_at_a_path_matters
        names_of_both_kinds_do_not_mix
        a_receive_that_stops_early_is_not_the_last
        a_connection_can_be_adopted
        what_is_no_connection_is_not_adopted
        a_connection_can_be_given_away;
}

/// A connect to one's own listener leaves from another port than it goes to: otherwise it would meet itself.
#[test]
fn the_engine_does_not_connect_a_port_with_itself() {
    use nethuns_rs::host::HostBuilder;
    use nethuns_rs::net::{ConnectOptions, ListenOptions, Net, SocketError};
    let host = HostBuilder::new("mem:net-tests-itself?ip=10.0.0.1/24");
    let host = host.configure(|config| config.tcp.ephemeral_ports = (40_000, 40_001));
    let mut net = Net::builder().host(host).build().unwrap();
    let address = "10.0.0.1:40000".parse().unwrap();
    net.tcp_listen(address, &ListenOptions::default()).unwrap();
    let connect = |net: &mut Net| net.tcp_connect(address, &ConnectOptions::default());
    let id = connect(&mut net).unwrap();
    assert_eq!(net.tcp_local_addr(id).unwrap().port(), 40_001);
    assert_eq!(connect(&mut net), Err(SocketError::NoPorts));
    // Who insists may: the simultaneous open of RFC 9293, 3.5, with one side only.
    let itself = ConnectOptions { local: Some(address), ..Default::default() };
    assert!(net.tcp_connect(address, &itself).is_ok());
}

/// However the engine waits.
mod poll_mode {
    use crate::world::World;

    #[test]
    fn a_sleeping_engine_waits_for_descriptors_too() {
        crate::watch::a_poll_waits_for_descriptors_too(&mut World::memory_with("&poll=sleep"));
    }

    #[test]
    fn a_busy_engine_looks_at_descriptors_too() {
        crate::watch::a_poll_waits_for_descriptors_too(&mut World::memory_with("&poll=busy"));
    }
}

/// What must hold over a bad line too: nothing is lost, nothing is told that is not so, however late it comes.
mod bad_line {
    use crate::world::World;

    const FAULTS: &str = "&loss=2%&dup=1%&reorder=2%&delay=200us&min_rto=5ms&faults=rx";

    #[test]
    fn bytes_arrive_in_order_both_ways() {
        let world = &mut World::memory_with(FAULTS);
        crate::bulk::bytes_arrive_in_order_both_ways(world);
        for side in [&world.client, &world.server] {
            let stats = side.net.as_host().expect("the engine").stats().stack.tcp;
            assert!(stats.retransmitted_segments > 0, "the line is bad: {stats:?}");
        }
    }

    #[test]
    fn a_slow_reader_loses_nothing() {
        crate::bulk::a_slow_reader_loses_nothing(&mut World::memory_with(FAULTS));
    }

    #[test]
    fn many_connections_at_once() {
        crate::bulk::many_connections_at_once(&mut World::memory_with(FAULTS));
    }

    #[test]
    fn what_was_sent_before_close_arrives() {
        crate::end::what_was_sent_before_close_arrives(&mut World::memory_with(FAULTS));
    }
}
