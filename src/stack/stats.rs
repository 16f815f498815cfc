//! Counters of an engine. All are totals since it was made; names are those of `nstat(8)` where it has one.

use super::rtt::RttHistogram;

macro_rules! counters {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct $name { $($(#[$field_doc])* pub $field: u64),* }

        impl $name {
            /// Each counter with its name.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($field), self.$field)),*].into_iter()
            }
        }
    };
}

/// Everything that an engine counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Frames and IP packets.
    pub ip: IpStats,
    /// TCP.
    pub tcp: TcpStats,
    /// UDP.
    pub udp: UdpStats,
    /// Memory that the engine holds.
    pub memory: MemoryStats,
    /// Round trips of TCP, all connections together.
    pub rtt: RttHistogram,
}

impl Stats {
    /// Each counter as `group.name` with its value.
    pub fn each(&self) -> impl Iterator<Item = (String, u64)> + use<> {
        let named = |group: &'static str| move |(name, value): (&'static str, u64)| (format!("{group}.{name}"), value);
        let (ip, tcp, udp, memory) = (self.ip.each(), self.tcp.each(), self.udp.each(), self.memory.each());
        ip.map(named("ip")).chain(tcp.map(named("tcp"))).chain(udp.map(named("udp"))).chain(memory.map(named("memory")))
    }
}

counters! {
    /// Frames, ARP, IP and ICMP.
    IpStats {
        /// Frames taken in.
        rx_frames,
        /// Frames written.
        tx_frames,
        /// Frames of no protocol of ours, or of another VLAN.
        rx_unknown_protocol,
        /// Frames with a header that contradicts itself or their length.
        rx_malformed,
        /// Packets with a wrong IPv4 header checksum.
        rx_bad_checksum,
        /// Packets to an address that is none of ours.
        rx_not_for_us,
        /// Packets from an address that cannot be a sender's.
        rx_bad_source,
        /// Packets with a source route, which are not taken.
        rx_source_routed,
        /// Fragments received.
        rx_fragments,
        /// Datagrams put together.
        reassembled,
        /// Datagrams given up because a fragment did not come in time.
        reassembly_timeouts,
        /// Fragments dropped because of the memory limit or because they overlap.
        reassembly_drops,
        /// Fragments sent.
        tx_fragments,
        /// Packets for which there was no route.
        tx_no_route,
        /// Packets dropped because their neighbour did not answer or too many waited for it.
        tx_unresolved,
        /// Packets that must not be fragmented and are longer than the interface takes.
        tx_too_long,
        /// Packets dropped for want of memory to hold or cut them.
        tx_no_memory,
        /// Times the device had no room for a frame.
        tx_full,
        /// Packets between addresses of this engine.
        loopback_packets,
        /// ARP requests received.
        rx_arp_requests,
        /// ARP replies received.
        rx_arp_replies,
        /// ARP requests sent.
        tx_arp_requests,
        /// ARP replies sent.
        tx_arp_replies,
        /// ARP and IP packets from outside that claim an address of ours.
        arp_conflicts,
        /// Neighbours given up because they did not answer.
        neighbour_failures,
        /// Neighbours that had to make room in the cache for others.
        neighbour_evictions,
        /// ICMP messages received.
        rx_icmp,
        /// ICMP messages with a wrong checksum or length.
        rx_icmp_malformed,
        /// Echo requests answered.
        icmp_echo_replies,
        /// ICMP errors sent.
        tx_icmp_errors,
        /// ICMP errors not sent because of the limit per second.
        icmp_errors_limited,
    }
}

counters! {
    /// TCP.
    TcpStats {
        /// Segments received.
        rx_segments,
        /// Segments sent, retransmissions included.
        tx_segments,
        /// Payload bytes received in order.
        rx_bytes,
        /// Payload bytes sent, without retransmissions.
        tx_bytes,
        /// Segments with a wrong checksum.
        rx_bad_checksum,
        /// Segments with a header or option that contradicts itself.
        rx_malformed,
        /// Connects begun.
        active_opens,
        /// Connections accepted from the network.
        passive_opens,
        /// Connects that failed.
        failed_connects,
        /// Connections reset by the peer.
        resets_received,
        /// Resets sent.
        resets_sent,
        /// Connections that timed out.
        timeouts,
        /// Segments to no connection or listener.
        rx_unknown,
        /// Segments sent again.
        retransmitted_segments,
        /// Bytes sent again.
        retransmitted_bytes,
        /// Retransmission timeouts.
        rto_expired,
        /// Tail loss probes.
        tail_loss_probes,
        /// Recoveries begun by RACK or duplicate acknowledgements.
        fast_recoveries,
        /// Recoveries or timeouts found to have been needless, and undone.
        spurious_recoveries,
        /// Segments received out of order and kept.
        rx_out_of_order,
        /// Segments all of which had been received before.
        rx_duplicates,
        /// Segments outside the window.
        rx_outside_window,
        /// Segments dropped by PAWS (RFC 7323).
        rx_paws_dropped,
        /// Segments dropped for want of memory.
        rx_no_memory,
        /// Received payloads that were copied because too many frames were kept.
        rx_copied,
        /// DSACK blocks received.
        rx_dsacks,
        /// DSACK blocks sent.
        tx_dsacks,
        /// Challenge acknowledgements sent (RFC 5961).
        challenge_acks,
        /// Challenge acknowledgements not sent because of the limit per second.
        challenge_acks_limited,
        /// Zero-window probes sent.
        window_probes,
        /// Keep-alive probes sent.
        keep_alive_probes,
        /// SYN cookies sent.
        syn_cookies_sent,
        /// Connections opened by a SYN cookie.
        syn_cookies_valid,
        /// Acknowledgements that carried no valid cookie.
        syn_cookies_invalid,
        /// SYNs dropped because the SYN queue was full and cookies are off.
        syn_queue_full,
        /// Handshakes not completed because the accept queue was full.
        accept_queue_full,
        /// Half-open connections given up.
        half_open_timeouts,
        /// TIME-WAIT records made.
        time_waits,
        /// TIME-WAIT records taken over by a new connection (RFC 6191).
        time_wait_reused,
        /// TIME-WAIT records dropped early because there were too many.
        time_wait_overflow,
        /// Connections that fell to a smaller MSS because of "fragmentation needed".
        path_mtu_reduced,
    }
}

counters! {
    /// UDP.
    UdpStats {
        /// Datagrams received.
        rx_datagrams,
        /// Datagrams sent.
        tx_datagrams,
        /// Bytes received.
        rx_bytes,
        /// Bytes sent.
        tx_bytes,
        /// Datagrams with a wrong checksum.
        rx_bad_checksum,
        /// Datagrams whose length contradicts that of their packet.
        rx_malformed,
        /// Datagrams to a port that nobody has bound.
        rx_no_port,
        /// Datagrams dropped because the socket's buffer was full.
        rx_buffer_full,
        /// Datagrams dropped for want of memory.
        rx_no_memory,
    }
}

counters! {
    /// What the engine holds now. Gauges, not totals.
    MemoryStats {
        /// Connections, those closed by the program and still delivering included.
        connections,
        /// Of these, those closed by the program.
        orphans,
        /// Half-open connections.
        half_open,
        /// TIME-WAIT records.
        time_wait,
        /// Received frames kept.
        kept_frames,
        /// Bytes of heap blocks in use for send buffers, copied data, reassembly and loopback.
        block_bytes,
        /// Bytes of the tables of TCP: connections, flows, timers, records, nodes of queues; those that are free included.
        table_bytes,
    }
}
