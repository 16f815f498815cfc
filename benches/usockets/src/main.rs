//! The driver of the uSockets layer's benchmarks: `scripts/bench.sh usockets` builds everything and runs it.
//!
//! In memory, without a driver: what the layer adds to an exchange on `net`, and what an idle connection keeps. And over
//! veth: servers on uSockets on our stack over AF_XDP, the same on the kernel, and a server in C on epoll.

mod layer_cost;
mod services;
mod tls;
mod veth;

use nethuns_bench::{Options, Report, one_cpu};
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = Options::parse();
    let mut report = Report::new("usockets", &options);
    one_cpu(true);
    layer_cost::figures(&options, &mut report);
    if options.only.as_ref().is_none_or(|text| text.contains("veth")) {
        veth::figures(&options, &mut report);
    }
    report.finish()
}
