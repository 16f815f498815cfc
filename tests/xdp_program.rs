//! The XDP program on real interfaces: attached, shared, refused, gone again.
#![cfg(all(target_os = "linux", feature = "af_xdp"))]

mod common;

use common::netns::{Lab, run};
use nethuns_rs::af_xdp::program::{AttachWish, Program, Request, Source};
use nethuns_rs::api::Attach;
use std::sync::Arc;

fn ifindex(name: &str) -> u32 {
    let line = String::from_utf8(run("ip", &format!("-o link show dev {name}")).stdout).unwrap();
    line.split(':').next().unwrap().parse().unwrap()
}

fn attach(name: &str, wish: AttachWish, source: &Source) -> nethuns_rs::Result<Arc<Program>> {
    Program::attach(&Request { ifname: name, ifindex: ifindex(name), wish, multi_buffer: false, source, queues: 2 })
}

/// What `ip` says of XDP on an interface: nothing, or a mode and an id.
fn xdp_on(name: &str) -> String {
    let text = String::from_utf8(run("ip", &format!("-d link show dev {name}")).stdout).unwrap();
    text.lines().filter(|line| line.contains("xdp/id") || line.contains("prog/xdp")).collect()
}

#[test]
fn a_program_is_attached_and_gone() {
    let Some(lab) = Lab::enter("a_program_is_attached_and_gone") else { return };
    lab.veth("va", "vb", 2);
    for (wish, attached) in [
        (AttachWish::Auto, Attach::Driver),
        (AttachWish::Driver, Attach::Driver),
        (AttachWish::Generic, Attach::Generic),
    ] {
        let program = attach("va", wish, &Source::default()).unwrap();
        assert_eq!(program.attached(), attached);
        assert_eq!(program.notes(), Vec::<String>::new());
        let id = program.prog_id().unwrap();
        assert!(xdp_on("va").contains(&format!("prog/xdp id {id}")), "{}", xdp_on("va"));
        drop(program);
        assert_eq!(xdp_on("va"), "");
    }
}
