//! What the API reference says of DPDK: "`dpdk::Sock` (Linux only)", "`DpdkFlags`", `MetadataType::Dpdk`.

use nethuns_rs::api::{Metadata, MetadataType, Socket as _};

mod documented {
    /// The documented struct, word for word.
    #[derive(Clone, Debug)]
    pub struct DpdkFlags {
        /// Number of mbufs in the mempool
        pub num_mbufs: u32,

        /// Per-core mbuf cache size
        pub mbuf_cache_size: u32,

        /// Default buffer size for mbufs
        pub mbuf_default_buf_size: u16,
    }
}

#[test]
fn flags_have_the_documented_fields_and_nothing_else() {
    let nethuns_rs::dpdk::DpdkFlags { num_mbufs, mbuf_cache_size, mbuf_default_buf_size } = Default::default();
    let flags = documented::DpdkFlags { num_mbufs, mbuf_cache_size, mbuf_default_buf_size };
    assert_eq!((flags.num_mbufs, flags.mbuf_cache_size, flags.mbuf_default_buf_size), (8192, 250, 2176));
    assert!(format!("{:?}", flags.clone()).starts_with("DpdkFlags"));
}

fn example(port: &str) -> nethuns_rs::Result<nethuns_rs::dpdk::Sock> {
    use nethuns_rs::dpdk::{DpdkFlags, Sock};

    let flags = DpdkFlags { num_mbufs: 8192, mbuf_cache_size: 250, mbuf_default_buf_size: 2176 };

    let socket = Sock::create(port, Some(0), flags)?;
    Ok(socket)
}

#[test]
fn the_example_is_about_one_card() {
    if std::path::Path::new("/sys/bus/pci/devices/0000:01:00.0").exists() {
        // Whatever it is, it is not ours to take.
        return crate::common::skip(
            "seeds::dpdk::the_example_is_about_one_card",
            "this machine has a device 0000:01:00.0",
        );
    }
    let error = example("0000:01:00.0").unwrap_err().to_string();
    assert!(error.contains("0000:01:00.0") && error.contains("there is no PCI device"), "{error}");
}

#[test]
fn the_example_runs_on_a_virtual_device() {
    let socket = example("net_null0").unwrap();
    let (packet, meta) = socket.recv().unwrap();
    assert_eq!(packet.len(), 64);
    assert!(matches!(meta.into_enum(), MetadataType::Dpdk(meta) if meta.rss_hash().is_none()));
}
