//! One device of DPDK: what it can do, how it is set up, what it counts.
#![allow(unsafe_code)]

use super::config::{Config, Timestamps, bad_option};
use super::log::quietly;
use super::pool::Mempool;
use crate::errors::{Error, Result};
use dpdk_sys as sys;
use std::ffi::{CStr, CString, c_void};
use std::io;

/// Bytes of a frame beyond the MTU: Ethernet header and two VLAN tags.
pub(super) const OVERHEAD: usize = 14 + 8;
/// What DPDK and Ethernet take for the MTU where nobody says otherwise.
const STANDARD_MTU: u16 = 1500;

/// A port id, valid until the port is closed.
#[derive(Debug)]
pub(super) struct Device {
    id: u16,
    driver: String,
}

/// How a port is going to be set up.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    pub(super) rx_queues: u16,
    pub(super) tx_queues: u16,
    pub(super) rx_ring: u16,
    pub(super) tx_ring: u16,
    pub(super) mtu: u16,
    /// Whether the device is told the MTU.
    tell_mtu: bool,
    rx_offloads: u64,
    tx_offloads: u64,
    rss: u64,
    /// Long packets arrive in several segments.
    pub(super) scatter: bool,
    /// Every packet is received into a big frame.
    pub(super) big_receive: bool,
    pub(super) promiscuous: bool,
    /// Where the device's timestamp is in an mbuf, and the flag that says so.
    pub(super) timestamp: Option<(usize, u64)>,
    /// Packets may carry orders for the driver.
    pub(super) orders: bool,
    /// The driver was promised that all frames it sends are of one pool.
    pub(super) fast_free: bool,
    /// The queues are given by the arguments of the virtual device.
    fixed_queues: bool,
    pub(super) notes: Vec<String>,
}

impl Plan {
    /// Whether one of these offloads of transmission is on.
    pub(super) fn sends(&self, offloads: u64) -> bool {
        self.tx_offloads & offloads != 0
    }

    /// Whether one of these offloads of reception is on.
    pub(super) fn receives(&self, offloads: u64) -> bool {
        self.rx_offloads & offloads != 0
    }

    pub(super) fn no_queue(&self, name: &str, queue: usize, most: u16) -> Error {
        let has = self.rx_queues;
        let help = if self.fixed_queues {
            "the number of queues is given by its arguments (such as `qpairs=` of net_af_packet)".to_owned()
        } else if queue < usize::from(most) {
            format!("open it with `?queues={}` or more", queue + 1)
        } else {
            format!("the device has {most} at most")
        };
        let problem = format!("queue {queue} does not exist: the port has {has}, numbered from 0; {help}");
        Error::NoSuchPort { port: name.to_owned(), problem }
    }
}

/// Offloads that an option asks for, and what they are called.
const RX_CHECKSUM: u64 =
    sys::ND_ETH_RX_OFFLOAD_IPV4_CKSUM | sys::ND_ETH_RX_OFFLOAD_UDP_CKSUM | sys::ND_ETH_RX_OFFLOAD_TCP_CKSUM;
pub(super) const TX_CHECKSUM: u64 =
    sys::ND_ETH_TX_OFFLOAD_IPV4_CKSUM | sys::ND_ETH_TX_OFFLOAD_UDP_CKSUM | sys::ND_ETH_TX_OFFLOAD_TCP_CKSUM;

/// Does a step where its driver expects it. The control connection of memif is served by EAL's interrupt thread, and the
/// driver does not lock against it: starting or closing a port while its peer comes or goes crashes in either. On that
/// thread itself, which also runs alarms, one comes after the other.
fn on_control_thread(driver: &str, step: impl FnOnce() -> i32 + Send + 'static) -> i32 {
    type Job = (Box<dyn FnOnce() -> i32 + Send>, std::sync::mpsc::SyncSender<i32>);
    unsafe extern "C" fn run(job: *mut c_void) {
        // SAFETY: the box that was leaked below; the alarm fires once.
        let (step, done) = *unsafe { Box::from_raw(job.cast::<Job>()) };
        let _ = done.send(step());
    }
    if driver != "net_memif" {
        return step();
    }
    let (done, outcome) = std::sync::mpsc::sync_channel(1);
    let job: Job = (Box::new(step), done);
    let job = Box::into_raw(Box::new(job));
    // SAFETY: EAL runs; the function takes the job and frees it.
    let code = unsafe { sys::rte_eal_alarm_set(1, Some(run), job.cast()) };
    if code != 0 {
        // SAFETY: no alarm was set: the job is still ours.
        drop(unsafe { Box::from_raw(job) });
        return code;
    }
    outcome.recv().unwrap_or(-libc::EIO)
}

impl Device {
    pub(super) fn new(id: u16) -> Result<Self> {
        let mut device = Self { id, driver: String::new() };
        let name = device.info().driver_name;
        if !name.is_null() {
            // SAFETY: a C string of the driver, which is loaded for good.
            device.driver = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
        }
        Ok(device)
    }

    pub(super) fn id(&self) -> u16 {
        self.id
    }

    /// The driver's name.
    pub(super) fn driver(&self) -> &str {
        &self.driver
    }

    pub(super) fn info(&self) -> sys::rte_eth_dev_info {
        let mut info = sys::rte_eth_dev_info::default();
        // SAFETY: a structure of the right type; an invalid port leaves it as it is.
        unsafe { sys::rte_eth_dev_info_get(self.id, &mut info) };
        info
    }

    /// What can be done of what was asked for.
    pub(super) fn plan(&self, name: &str, queue: Option<usize>, config: &Config) -> Result<Plan> {
        let info = self.info();
        // These make as many queues as their arguments say, and all of them receive.
        let fixed =
            ["net_af_packet", "net_af_xdp", "net_pcap"].contains(&self.driver.as_str()) || config.wire.is_some();
        let queues = match config.queues {
            Some(n) if n > info.max_rx_queues || fixed && n != info.max_rx_queues => {
                let expected = if fixed {
                    format!("{}, as the arguments of `{name}` have it", info.max_rx_queues)
                } else {
                    format!("at most {}, which is what the device has", info.max_rx_queues)
                };
                return Err(bad_option("queues", n, expected));
            }
            Some(n) => n,
            None if fixed => info.max_rx_queues.max(1),
            None => 1,
        };
        let mut plan = Plan {
            rx_queues: queues,
            tx_queues: queues.min(info.max_tx_queues).max(1),
            fixed_queues: fixed,
            mtu: config.mtu.unwrap_or(STANDARD_MTU),
            ..Plan::default()
        };
        if let Some(queue) = queue.filter(|queue| *queue >= usize::from(queues)) {
            return Err(plan.no_queue(name, queue, info.max_rx_queues));
        }
        self.plan_mtu(name, config, &info, &mut plan)?;
        self.plan_offloads(config, &info, &mut plan)?;
        // Rings that leave most of the pool to the program, however small it is.
        let share = (config.flags.num_mbufs / (4 * u32::from(queues))).clamp(16, 1024) as u16;
        let ring = 1 << share.ilog2();
        plan.rx_ring = config.rx_ring.unwrap_or(ring);
        plan.tx_ring = config.tx_ring.unwrap_or(ring);
        Ok(plan)
    }

    fn plan_mtu(&self, name: &str, config: &Config, info: &sys::rte_eth_dev_info, plan: &mut Plan) -> Result<()> {
        let Some(mtu) = config.mtu else { return Ok(()) };
        let overhead = OVERHEAD as u32 + 4;
        plan.tell_mtu = mtu <= info.max_mtu && u32::from(mtu) + overhead <= info.max_rx_pktlen.max(1518 + 8);
        if !plan.tell_mtu {
            // How long a packet may be is a matter of the interface or the arguments here.
            if ["net_af_packet", "net_pcap", "net_af_xdp", "net_memif", "net_ring", "net_null"]
                .contains(&self.driver.as_str())
            {
                plan.notes.push(format!("the MTU of {mtu} is known to the socket only, not to the device"));
            } else {
                let most = u32::from(info.max_mtu).min(info.max_rx_pktlen.saturating_sub(overhead));
                return Err(bad_option("mtu", mtu, format!("at most {most}, which is what {name} can do")));
            }
        }
        let room = usize::from(config.flags.mbuf_default_buf_size) - super::pool::HEADROOM;
        let scatters = info.rx_offload_capa & sys::ND_ETH_RX_OFFLOAD_SCATTER != 0;
        // Memif does it without being asked, or saying that it can.
        plan.scatter = usize::from(mtu) + OVERHEAD > room && (scatters || self.driver == "net_memif");
        Ok(())
    }

    fn plan_offloads(&self, config: &Config, info: &sys::rte_eth_dev_info, plan: &mut Plan) -> Result<()> {
        // The capture stamps every packet, asked or not, and does not call it an offload.
        let hardware = config.timestamps == Timestamps::Hardware && self.driver != "net_pcap";
        for (wanted, bits, option) in [
            (config.rx_checksum, RX_CHECKSUM, "rx_checksum"),
            (config.vlan_strip, sys::ND_ETH_RX_OFFLOAD_VLAN_STRIP, "vlan_strip"),
            (hardware, sys::ND_ETH_RX_OFFLOAD_TIMESTAMP, "timestamps=hw"),
        ] {
            if wanted {
                plan.rx_offloads |= self.offload(option, bits, info.rx_offload_capa)?;
            }
        }
        if plan.scatter {
            plan.rx_offloads |= info.rx_offload_capa & sys::ND_ETH_RX_OFFLOAD_SCATTER;
        }
        for (wanted, bits, option) in [
            (config.tx_checksum, TX_CHECKSUM, "tx_checksum"),
            (config.vlan_insert, sys::ND_ETH_TX_OFFLOAD_VLAN_INSERT, "vlan_insert"),
        ] {
            if wanted {
                plan.tx_offloads |= self.offload(option, bits, info.tx_offload_capa)?;
            }
        }
        const RSS: u64 = sys::ND_ETH_RSS_IP | sys::ND_ETH_RSS_TCP | sys::ND_ETH_RSS_UDP;
        let can = RSS & info.flow_type_rss_offloads;
        if config.rss == Some(true) && can == 0 {
            return Err(self.cannot("rss"));
        }
        if config.rss.unwrap_or(plan.rx_queues > 1) {
            plan.rss = can;
            plan.rx_offloads |= if can == 0 { 0 } else { info.rx_offload_capa & sys::ND_ETH_RX_OFFLOAD_RSS_HASH };
            if can == 0 && plan.rx_queues > 1 && !plan.fixed_queues {
                plan.notes.push("the device does not spread packets over its queues (no RSS)".into());
            }
        }
        Ok(())
    }

    fn offload(&self, option: &str, bits: u64, capable: u64) -> Result<u64> {
        if bits & !capable == 0 { Ok(bits) } else { Err(self.cannot(option)) }
    }

    fn cannot(&self, option: &str) -> Error {
        let driver = &self.driver;
        Error::unsupported(format!("option `{option}`"), format!("driver {driver} has no such offload: leave it out"))
    }

    /// Tells the device what it is going to do.
    pub(super) fn configure(&self, name: &str, plan: &Plan, config: &Config) -> Result<()> {
        let mut conf = sys::rte_eth_conf::default();
        conf.rxmode.offloads = plan.rx_offloads;
        conf.txmode.offloads = plan.tx_offloads;
        if plan.tell_mtu {
            conf.rxmode.mtu = plan.mtu.into();
        }
        if plan.rss != 0 {
            conf.rxmode.mq_mode = sys::RTE_ETH_MQ_RX_RSS;
            conf.rx_adv_conf.rss_conf.rss_hf = plan.rss;
        }
        conf.intr_conf.set_rxq(config.interrupts.into());
        // SAFETY: the port is not started; the configuration is copied.
        let step = || unsafe { sys::rte_eth_dev_configure(self.id, plan.rx_queues, plan.tx_queues, &conf) };
        self.take(&format!("configuring {name}"), "try fewer queues and offloads", step)
    }

    /// Sets up the queues, with rings of a length the device can have. Receives into `receive_from`; frames of one
    /// pool only are sent if `one_pool`.
    pub(super) fn set_up_queues(
        &self,
        name: &str,
        plan: &mut Plan,
        receive_from: &Mempool,
        one_pool: bool,
    ) -> Result<()> {
        let info = self.info();
        // SAFETY: two numbers that are adjusted.
        unsafe { sys::rte_eth_dev_adjust_nb_rx_tx_desc(self.id, &mut plan.rx_ring, &mut plan.tx_ring) };
        // SAFETY: a plain question.
        let numa = unsafe { sys::rte_eth_dev_socket_id(self.id) } as u32; // -1: any
        let mut rx = info.default_rxconf;
        rx.offloads |= plan.rx_offloads;
        let mut tx = info.default_txconf;
        tx.offloads |= plan.tx_offloads;
        plan.orders = plan.sends(TX_CHECKSUM | sys::ND_ETH_TX_OFFLOAD_VLAN_INSERT);
        plan.fast_free = one_pool && info.tx_queue_offload_capa & sys::ND_ETH_TX_OFFLOAD_MBUF_FAST_FREE != 0;
        if plan.fast_free {
            tx.offloads |= sys::ND_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
        }
        for queue in 0..plan.rx_queues {
            let help =
                "its buffers may be too small for this driver (mbuf_default_buf_size), or its ring too long (rx_ring)";
            self.take(&format!("setting up receive queue {queue} of {name}"), help, || {
                // SAFETY: configured with more queues than `queue`; the mempool outlives the port (`Port::pool`).
                unsafe { sys::rte_eth_rx_queue_setup(self.id, queue, plan.rx_ring, numa, &rx, receive_from.as_ptr()) }
            })?;
        }
        for queue in 0..plan.tx_queues {
            self.take(
                &format!("setting up transmit queue {queue} of {name}"),
                "its ring may be too long (tx_ring)",
                || {
                    // SAFETY: as above.
                    unsafe { sys::rte_eth_tx_queue_setup(self.id, queue, plan.tx_ring, numa, &tx) }
                },
            )?;
        }
        Ok(())
    }

    pub(super) fn start(&self, name: &str) -> Result<()> {
        let id = self.id;
        // SAFETY: configured, with every queue set up.
        let step = || on_control_thread(&self.driver, move || unsafe { sys::rte_eth_dev_start(id) });
        self.take(&format!("starting {name}"), "check that the interface is there and up", step)
    }

    /// Stops, closes and removes a port, in this order.
    pub(super) fn close(id: u16) {
        let Ok(device) = Self::new(id) else { return };
        let _ = quietly(|| {
            on_control_thread(&device.driver, move || {
                let mut info = sys::rte_eth_dev_info::default();
                // SAFETY: the port is open, and nobody receives or sends on it any more: its last claim is going, or its
                // first never came about. Closing frees what its queues hold, while their pool still lives; the device
                // stays until it is removed.
                unsafe {
                    sys::rte_eth_dev_info_get(id, &mut info);
                    sys::rte_eth_dev_stop(id);
                    sys::rte_eth_dev_close(id);
                    if info.device.is_null() { 0 } else { sys::rte_dev_remove(info.device) }
                }
            })
        });
    }

    /// Makes one step of the set-up.
    fn take(&self, what: &str, help: &str, step: impl FnOnce() -> i32) -> Result<()> {
        let (code, said) = quietly(step);
        if code >= 0 {
            return Ok(());
        }
        let help = if said.is_empty() { help.to_owned() } else { format!("{help} (DPDK: {said})") };
        Err(Error::System { what: what.to_owned(), help, source: io::Error::from_raw_os_error(-code) })
    }

    /// An error for something that the device refused.
    pub(super) fn refused(&self, what: &str, error: &io::Error) -> Error {
        Error::unsupported(what.to_owned(), format!("driver {} says: {error}", self.driver))
    }

    pub(super) fn set_promiscuous(&self, on: bool) -> io::Result<()> {
        let (code, _) = quietly(|| {
            // SAFETY: the port is open.
            unsafe {
                if on { sys::rte_eth_promiscuous_enable(self.id) } else { sys::rte_eth_promiscuous_disable(self.id) }
            }
        });
        if code < 0 { Err(io::Error::from_raw_os_error(-code)) } else { Ok(()) }
    }

    /// Where the device writes its timestamps.
    pub(super) fn timestamp_field(&self) -> Result<Option<(usize, u64)>> {
        let (mut offset, mut flag) = (-1, 0);
        // SAFETY: two numbers that are written; registering what is registered already finds it.
        let code = unsafe { sys::rte_mbuf_dyn_rx_timestamp_register(&mut offset, &mut flag) };
        match usize::try_from(offset) {
            Ok(offset) if code == 0 => Ok(Some((offset, flag))),
            _ => Err(self.cannot("timestamps=hw")),
        }
    }

    pub(super) fn stats(&self) -> sys::rte_eth_stats {
        let mut stats = sys::rte_eth_stats::default();
        // SAFETY: a structure of the right type.
        unsafe { sys::rte_eth_stats_get(self.id, &mut stats) };
        stats
    }

    /// The extended statistics that count packets longer than the device takes. They are errors of reception as well.
    pub(super) fn oversize_ids(&self) -> Vec<u64> {
        let names = ["rx_oversize_errors", "rx_oversize_packets", "rx_length_errors"];
        names.iter().filter_map(|name| self.xstat_id(name)).collect()
    }

    fn xstat_id(&self, name: &str) -> Option<u64> {
        let name = CString::new(name).ok()?;
        let mut id = 0;
        // SAFETY: a C string in, a number out. It logs a name that it does not know.
        let (code, _) = quietly(|| unsafe { sys::rte_eth_xstats_get_id_by_name(self.id, name.as_ptr(), &mut id) });
        (code == 0).then_some(id)
    }

    /// The sum of some extended statistics.
    pub(super) fn xstats(&self, ids: &[u64]) -> u64 {
        if ids.is_empty() {
            return 0;
        }
        let mut values = vec![0; ids.len()];
        // SAFETY: as many values as ids.
        let n = unsafe { sys::rte_eth_xstats_get_by_id(self.id, ids.as_ptr(), values.as_mut_ptr(), ids.len() as u32) };
        if usize::try_from(n) == Ok(ids.len()) { values.iter().sum() } else { 0 }
    }

    /// Every extended statistic with its name.
    pub(super) fn all_xstats(&self) -> Vec<(String, u64)> {
        // SAFETY: without room the call says how many there are.
        let n = unsafe { sys::rte_eth_xstats_get(self.id, std::ptr::null_mut(), 0) };
        let n = usize::try_from(n).unwrap_or(0);
        let mut values = vec![sys::rte_eth_xstat::default(); n];
        let mut names = vec![sys::rte_eth_xstat_name { name: [0; 64] }; n];
        // SAFETY: room for `n` of each.
        let (got, named) = unsafe {
            (
                sys::rte_eth_xstats_get(self.id, values.as_mut_ptr(), n as u32),
                sys::rte_eth_xstats_get_names(self.id, names.as_mut_ptr(), n as u32),
            )
        };
        let n = usize::try_from(got.min(named)).unwrap_or(0).min(n);
        let text = |name: &sys::rte_eth_xstat_name| {
            let bytes: Vec<u8> = name.name.iter().map(|c| *c as u8).take_while(|c| *c != 0).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        values[..n].iter().filter_map(|x| Some((text(names.get(usize::try_from(x.id).ok()?)?), x.value))).collect()
    }

    pub(super) fn mac(&self) -> Option<[u8; 6]> {
        let mut mac = sys::rte_ether_addr::default();
        // SAFETY: a structure of the right type.
        (unsafe { sys::rte_eth_macaddr_get(self.id, &mut mac) } == 0).then_some(mac.addr_bytes)
    }

    pub(super) fn mtu(&self) -> Option<u16> {
        let mut mtu = 0;
        // SAFETY: a number that is written.
        (unsafe { sys::rte_eth_dev_get_mtu(self.id, &mut mtu) } == 0).then_some(mtu)
    }

    /// Speed in Mbit/s and carrier.
    pub(super) fn link(&self) -> (Option<u32>, Option<bool>) {
        let mut link = sys::rte_eth_link::default();
        // SAFETY: a structure of the right type.
        if unsafe { sys::rte_eth_link_get_nowait(self.id, &mut link) } != 0 {
            return (None, None);
        }
        let speed =
            (link.link_speed != 0 && link.link_speed != sys::ND_ETH_LINK_SPEED_UNKNOWN).then_some(link.link_speed);
        (speed, Some(link.link_status() != 0))
    }
}
