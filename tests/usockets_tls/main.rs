//! TLS over sockets, against other people's TLS: OpenSSL (`s_client`, `s_server`, `curl` with HTTP/2, Python) and GnuTLS
//! (`wget`). Each test on the kernel's loopback, and over AF_XDP on a veth end that has no kernel address:
//!
//! ```text
//!   this thread's namespace                   the loop's namespace
//!   openssl, curl, … ── kernel 10.0.0.1 eth1 ── eth0 10.0.0.2: AF_XDP and the engine
//! ```
#![cfg(all(target_os = "linux", feature = "tls", feature = "af_xdp"))]

#[path = "../common/certs.rs"]
#[allow(dead_code, reason = "other tests need more of it")]
mod certs;
#[path = "../common/mod.rs"]
mod common;

mod client;
mod example;
mod loops;
mod noise;
mod place;
#[path = "../tools/run.rs"]
#[allow(dead_code, reason = "it is made for more than these tests need")]
mod run;
mod server;

/// Each test once per network.
macro_rules! on_every_network {
    ($($module:ident: $($test:ident)+;)+) => {
        mod kernel {
            $(mod $module {
                $(
                    #[test]
                    fn $test() {
                        crate::$module::$test(&crate::place::Place::kernel());
                    }
                )+
            })+
        }

        mod stack {
            $(mod $module {
                $(
                    #[test]
                    fn $test() {
                        if let Some(place) = crate::place::Place::stack(concat!(stringify!($module), "::", stringify!($test))) {
                            crate::$module::$test(&place);
                        }
                    }
                )+
            })+
        }
    };
}

on_every_network! {
    server:
        openssl_talks_to_us
        openssl_comes_back
        openssl_renews_keys_and_does_not_renegotiate
        curl_speaks_http_1_and_2
        gnutls_and_python_talk_to_us
        names_lead_to_their_certificates
        clients_show_certificates
        strangers_are_turned_away;
    client:
        we_talk_to_openssl
        we_come_back_to_openssl
        we_show_openssl_our_certificate
        we_turn_bad_servers_away;
    loops:
        much_goes_both_ways
        handshakes_wait_for_their_turn
        a_connection_that_is_cut_off_ends;
    example:
        it_makes_a_certificate_if_it_has_none
        it_shows_the_certificates_it_is_given;
}
