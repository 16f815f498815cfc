//! Finds DPDK by pkg-config, compiles the shim against it and makes bindings of what the library uses.

use std::env;
use std::path::PathBuf;
use std::process::Command;

/// Bursts, hotplug and the names of flags are the same from here on.
const OLDEST: &str = "22.11";

fn main() {
    for file in ["build.rs", "shim.h", "shim.c"] {
        println!("cargo::rerun-if-changed={file}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let dpdk = match pkg_config::Config::new().atleast_version(OLDEST).probe("libdpdk") {
        Ok(found) => found,
        Err(error) => fail(&format!(
            "feature `dpdk` needs DPDK {OLDEST} or later, with its headers and pkg-config's `libdpdk.pc`.\n\
             On Debian and Ubuntu:  apt-get install libdpdk-dev pkg-config clang libclang-dev\n\
             On Fedora:             dnf install dpdk-devel pkgconf clang-devel\n\
             Built from source:     point PKG_CONFIG_PATH at the folder of libdpdk.pc\n\
             pkg-config said: {error}"
        )),
    };
    // `-include rte_config.h` and `-march=…`: the headers do not compile without them, and the crate does not pass them on.
    let mut flags = other_flags();
    flags.push("-D_GNU_SOURCE".to_owned());
    flags.extend(dpdk.include_paths.iter().map(|path| format!("-I{}", path.display())));

    let mut shim = cc::Build::new();
    shim.file("shim.c").opt_level(3).warnings(false);
    for flag in &flags {
        shim.flag(flag);
    }
    shim.compile("nethuns_dpdk_shim");

    // A driver, and so not in libdpdk.pc; the rings between two ports of one process are made through it.
    println!("cargo::rustc-link-lib=rte_net_ring");
    println!("cargo::metadata=version={}", dpdk.version);
    println!("cargo::rustc-env=DPDK_SYS_VERSION={}", dpdk.version);

    let bindings = bindgen::Builder::default()
        .header("shim.h")
        .clang_args(&flags)
        .allowlist_function("nd_.*")
        .allowlist_var("ND_.*|RTE_MAX_LCORE|LCORE_ID_ANY|RTE_ETH_NAME_MAX_LEN|RTE_PKTMBUF_HEADROOM")
        .allowlist_function(
            "rte_eal_(init|get_runtime_dir|alarm_set|has_hugepages|iova_mode)|rte_version|rte_strerror|rte_openlog_stream",
        )
        .allowlist_function("rte_log_set_global_level|rte_log_get_global_level|rte_socket_id|fopencookie|setvbuf")
        .allowlist_function("rte_thread_(register|unregister)|rte_dev_(probe|remove|name)")
        .allowlist_function("rte_mempool_(free|avail_count|mem_iter)|rte_pktmbuf_(pool_create_by_ops|copy)")
        .allowlist_function("rte_mbuf_dyn_rx_timestamp_register|rte_mbuf_dynfield_lookup")
        .allowlist_function("rte_ring_(create|free)|rte_eth_from_rings|rte_get_ptype_name|rte_get_rx_ol_flag_name")
        .allowlist_function("rte_eth_dev_(configure|start|stop|close|info_get|adjust_nb_rx_tx_desc|socket_id)")
        .allowlist_function("rte_eth_dev_(get_port_by_name|get_name_by_port|set_mtu|get_mtu|count_avail)")
        .allowlist_function("rte_eth_dev_(rx_intr_enable|rx_intr_disable|rx_intr_ctl_q_get_fd|is_valid_port)")
        .allowlist_function("rte_eth_(rx_queue_setup|tx_queue_setup|promiscuous_(enable|disable|get)|macaddr_get)")
        .allowlist_function(
            "rte_eth_(link_get_nowait|stats_get|stats_reset|xstats_get|xstats_get_names|tx_done_cleanup)",
        )
        .allowlist_function("rte_eth_(find_next|read_clock|dev_set_ptypes|dev_get_supported_ptypes)")
        .allowlist_type("rte_iova_mode|rte_eth_conf|rte_eth_dev_info|rte_eth_stats|rte_eth_link|rte_eth_rxconf")
        .allowlist_type("rte_eth_rx_mq_mode|rte_eth_tx_mq_mode|rte_eth_xstat.*")
        .allowlist_function("rte_eth_xstats_get_by_id|rte_eth_xstats_get_id_by_name|rte_epoll_wait")
        .allowlist_function("rte_eth_dev_rx_intr_ctl_q")
        .opaque_type("rte_mbuf.*|rte_mempool|rte_mempool_cache|rte_ring.*|rte_device|_IO_FILE|rte_epoll_data")
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        .derive_default(true)
        .layout_tests(false)
        .generate_comments(false)
        .generate()
        .unwrap_or_else(|error| {
            fail(&format!(
                "making bindings of DPDK {}: {error}\n\
                 If libclang is missing:  apt-get install clang libclang-dev",
                dpdk.version
            ))
        });
    bindings.write_to_file(out.join("bindings.rs")).expect("OUT_DIR is writable");
}

/// The compiler flags of `libdpdk.pc` that are no include path.
fn other_flags() -> Vec<String> {
    let tool = env::var_os("PKG_CONFIG").unwrap_or_else(|| "pkg-config".into());
    let output = match Command::new(tool).args(["--cflags-only-other", "libdpdk"]).output() {
        Ok(output) if output.status.success() => output.stdout,
        _ => fail("`pkg-config --cflags-only-other libdpdk` failed"),
    };
    String::from_utf8_lossy(&output).split_whitespace().map(str::to_owned).collect()
}

fn fail(message: &str) -> ! {
    // Cargo shows a build script's panic in full, and nothing else of it as reliably.
    eprintln!("\nerror: {message}\n");
    std::process::exit(1)
}
