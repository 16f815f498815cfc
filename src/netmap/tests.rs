//! What the public face does not show: buffers that come back, rules that the emulation enforces, memory that lies.
#![allow(unsafe_code)]

use super::device::Device;
use super::emulation::{self, Emulated};
use super::error::Error as Netmap;
use super::layout::Layout;
use super::ring::Ring;
use super::sys::{self, BUF_CHANGED, MOREFRAG, Mapping, NetmapIf, NetmapRing, Register, Slot};
use super::{NetmapFlags, Sock};
use crate::api::{Context, Socket, Token};
use crate::errors::Error;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

fn open(spec: &str) -> Sock {
    Sock::create(&format!("{spec}?emulated"), None, NetmapFlags { extra_buf: 32 }).unwrap()
}

/// A port without a socket: whoever has it writes into slots what he likes.
fn raw(name: &str, request: Register) -> Layout {
    let request = Register { mode: request.mode.max(1), flags: sys::EXCLUSIVE, ..request };
    Layout::find(Box::new(Emulated::register(name, request).unwrap()), name).unwrap()
}

fn memory(sock: &Sock) -> Arc<emulation::region::Region> {
    let note = sock.mode().notes.into_iter().find_map(|n| n.strip_prefix("memory ").map(str::to_owned));
    emulation::region(note.unwrap().parse().unwrap()).unwrap()
}

/// Puts packets of these lengths, each with flags, into a ring's next slots and syncs.
fn put(port: &Layout, slots: &[(u16, u16)]) {
    let (_, ring) = port.tx[0];
    // Slots that the other end has given back are ours after a sync.
    port.device().txsync().unwrap();
    let mut at = ring.head();
    for (len, flags) in slots {
        // SAFETY: the test has the ring to itself and keeps to slots before `tail`.
        unsafe {
            let slot = ring.slot(at);
            let start = port.buffers().0.add((slot.buf_idx * port.buf_size) as usize);
            for i in 0..*len {
                start.add(i.into()).write((usize::from(i) + at as usize * 7) as u8);
            }
            ring.set_slot(at, Slot { len: *len, flags: *flags, ..slot });
        }
        at = ring.next(at);
    }
    ring.set_head(at);
    port.device().txsync().unwrap();
}

fn receive(sock: &Sock) -> Option<Token> {
    sock.recv_token().map(|(token, _)| token).ok()
}

#[test]
fn every_buffer_comes_back() {
    let (a, b) = (open("netmap:ua{1"), open("netmap:ua}1"));
    let region = memory(&a);
    let before = region.audit().0;
    for round in 0..3000_usize {
        a.send(&[round as u8; 60]).unwrap();
        if round % 3 == 0 {
            let token = a.alloc(80).unwrap().into_token();
            a.send_token(token).map_err(|r| r.error).unwrap();
        }
        a.flush();
        let held: Vec<Token> = std::iter::from_fn(|| receive(&b)).collect();
        assert_eq!(held.len(), 1 + usize::from(round % 3 == 0));
        for token in held {
            // Buffers wander both ways.
            b.send_token(token).map_err(|r| r.error).unwrap();
        }
        b.flush();
        while receive(&a).is_some() {}
    }
    assert_eq!(region.audit(), (before, 0), "sending changes no number");
    // Closed with packets in every place: sent and not read, not yet sent, read and not given back.
    for _ in 0..5 {
        a.send(&[1; 60]).unwrap();
    }
    a.flush();
    let kept = receive(&b);
    a.send(&[2; 60]).unwrap();
    drop((kept, a, b));
    assert_eq!(region.audit(), (0, 0));
}

#[test]
fn buffers_come_back_after_the_last_token() {
    let (a, b) = (open("netmap:ub{1"), open("netmap:ub}1"));
    let region = memory(&a);
    for _ in 0..6 {
        a.send(&[7; 60]).unwrap();
    }
    a.flush();
    let mut tokens: Vec<Token> = std::iter::from_fn(|| receive(&b)).collect();
    assert_eq!(tokens.len(), 6);
    let context = b.context().clone();
    drop((a, b));
    // The port is still open: its buffers are lent out.
    let again = Sock::create("netmap:ub}1?emulated", None, NetmapFlags::default());
    assert!(matches!(again, Err(Error::Busy { .. })));
    let payload = context.packet(tokens.remove(0));
    assert_eq!(*payload, [7; 60]);
    drop(payload);
    let last = tokens.pop().unwrap();
    drop(tokens);
    drop(context);
    assert!(region.audit().0 > 0 && last.peek(<[u8]>::len).is_none());
    drop(last);
    assert_eq!(region.audit(), (0, 0), "the last token closes the port");
    drop(open("netmap:ub}1"));
}

#[test]
fn tokens_of_many_threads_close_the_port() {
    for _ in 0..50 {
        let (a, b) = (open("netmap:uc{1"), open("netmap:uc}1"));
        let region = memory(&a);
        for _ in 0..8 {
            a.send(&[7; 60]).unwrap();
        }
        a.flush();
        let mut threads = Vec::new();
        while let Some(token) = receive(&b) {
            threads.push(std::thread::spawn(move || drop(token)));
        }
        drop((b, a));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(region.audit(), (0, 0));
    }
}

#[test]
fn sharers_may_go_in_any_order() {
    for order in 0..2 {
        let (a, b) = (open("netmap:ud{1"), open("netmap:ud}1"));
        let out = b.create_sharing("netmap:ud{2?emulated", None, NetmapFlags::default()).unwrap();
        let end = open("netmap:ud}2");
        let region = memory(&a);
        for _ in 0..100 {
            a.send(&[3; 60]).unwrap();
            a.flush();
            out.send_token(receive(&b).unwrap()).map_err(|r| r.error).unwrap();
            out.flush();
            assert!(receive(&end).is_some());
        }
        assert_eq!(b.frames_in_flight(), Some(0));
        drop((a, end));
        if order == 0 {
            drop((b, out))
        } else {
            drop((out, b))
        }
        assert_eq!(region.audit(), (0, 0), "order {order}");
    }
}

#[test]
fn vale_memory_is_private_and_can_be_shared() {
    let (a, b) = (open("netmap:vale90:a"), open("netmap:vale90:b"));
    let regions = [memory(&a), memory(&b)];
    assert!(!Arc::ptr_eq(&regions[0], &regions[1]));
    let c = a.create_sharing("netmap:vale91:c?emulated", None, NetmapFlags::default()).unwrap();
    assert!(Arc::ptr_eq(&regions[0], &memory(&c)));
    drop((a, b, c));
    assert_eq!(regions.map(|region| region.audit()), [(0, 0), (0, 0)]);
    // Without sharing, buffers of one do not fit the other.
    let (a, b) = (open("netmap:vale90:a"), open("netmap:vale90:b"));
    let error = a.create_sharing("netmap:vale90:b?emulated", None, NetmapFlags::default()).unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error}");
    drop((a, b));
    let a = open("netmap:ue{1");
    let error = a.create_sharing("netmap:emu8?emulated", None, NetmapFlags::default()).unwrap_err();
    assert!(error.to_string().contains("it has memory 1, not"), "{error}");
}

#[test]
fn heads_that_make_no_sense_are_reset() {
    let (port, other) = (raw("uf{1", Register::default()), raw("uf}1", Register::default()));
    let (_, tx) = port.tx[0];
    let slots = tx.num_slots();
    put(&port, &[(60, 0), (60, 0)]);
    assert_eq!((tx.head(), tx.tail()), (2, slots - 1));
    for head in [1, slots - 1 + 1, slots + 7, u32::MAX] {
        tx.set_head(head);
        port.device().txsync().unwrap();
        assert_eq!((tx.head(), tx.cur(), tx.tail()), (2, 2, slots - 1), "head {head}");
    }
    // `tail` is the kernel's: what a program writes there is put right.
    tx.set_tail(17);
    port.device().txsync().unwrap();
    assert_eq!(tx.tail(), slots - 1);
    let (_, rx) = other.rx[0];
    other.device().rxsync().unwrap();
    assert_eq!((rx.head(), rx.tail()), (0, 2));
    for head in [3, slots - 1, slots, u32::MAX] {
        rx.set_head(head);
        other.device().rxsync().unwrap();
        assert_eq!((rx.head(), rx.cur(), rx.tail()), (0, 0, 2), "head {head}");
    }
    rx.set_head(2);
    other.device().rxsync().unwrap();
    assert_eq!((rx.head(), rx.tail()), (2, 2));
}

#[test]
fn buffers_that_do_not_exist_are_refused() {
    for name in ["ug{1", "vale92:a"] {
        let port = raw(name, Register::default());
        let (_, tx) = port.tx[0];
        for slot in [
            Slot { buf_idx: 0, len: 60, flags: BUF_CHANGED },
            Slot { buf_idx: 1, len: 60, flags: BUF_CHANGED },
            Slot { buf_idx: port.total, len: 60, flags: BUF_CHANGED },
            Slot { buf_idx: u32::MAX, len: 60, flags: BUF_CHANGED },
            Slot { buf_idx: 2, len: 2049, flags: BUF_CHANGED },
        ] {
            // SAFETY: the slot is ours, and is put right again below.
            let (at, good) = unsafe { (tx.head(), tx.slot(tx.head())) };
            // SAFETY: as above.
            unsafe { tx.set_slot(at, slot) };
            tx.set_head(tx.next(at));
            port.device().txsync().unwrap();
            assert_eq!(tx.head(), at, "{name}: {slot:?} went through");
            // SAFETY: as above.
            let emptied = unsafe { tx.slot(at) };
            assert_eq!(emptied.len, 0);
            assert_eq!(emptied.buf_idx, if slot.len > 2048 { 2 } else { 0 }, "{name}: {slot:?}");
            // SAFETY: as above.
            unsafe { tx.set_slot(at, Slot { flags: 0, ..good }) };
        }
        put(&port, &[(60, 0)]);
        assert_eq!(tx.head(), 1, "{name}: and all is well again");
    }
}

#[test]
fn a_socket_survives_a_ring_that_was_reset() {
    let (a, b) = (open("netmap:uh{1"), open("netmap:uh}1"));
    a.send(&[1; 60]).unwrap();
    a.flush();
    // Somebody writes over a slot that is queued.
    a.send(&[2; 60]).unwrap();
    a.send(&[3; 60]).unwrap();
    let (_, ring) = a.layout.tx[0];
    // SAFETY: a test's vandalism: nobody else touches the ring meanwhile.
    let good = unsafe { ring.slot(1) };
    // SAFETY: as above.
    unsafe { ring.set_slot(1, Slot { buf_idx: u32::MAX, len: 60, flags: 0 }) };
    a.flush();
    let stats = a.stats();
    assert_eq!((stats.tx_submitted, stats.tx_packets, stats.tx_dropped.invalid), (3, 1, 2), "{stats:?}");
    // The slot is empty now: that is said, and nothing is written to nowhere.
    let error = a.send(&[4; 60]).unwrap_err();
    assert!(matches!(error, Error::Netmap(Netmap::Layout { .. })), "{error}");
    let token = a.alloc(60).unwrap().into_token();
    assert!(a.send_token(token).is_err());
    // SAFETY: as above.
    unsafe { ring.set_slot(1, good) };
    a.send(&[5; 60]).unwrap();
    a.flush();
    let got: Vec<u8> = std::iter::from_fn(|| receive(&b)).map(|t| t.consume(b.context())[0]).collect();
    assert_eq!(got, [1, 5]);
}

#[test]
fn received_slots_that_make_no_sense_are_counted() {
    let (port, b) = (raw("ui{1", Register::default()), open("netmap:ui}1"));
    put(&port, &[(60, 0), (61, 0), (62, 0)]);
    b.rxsync().unwrap();
    let (_, ring) = b.layout.rx[0];
    // SAFETY: vandalism again.
    let good = unsafe { ring.slot(1) };
    // SAFETY: as above.
    unsafe { ring.set_slot(1, Slot { buf_idx: b.layout.total, ..good }) };
    let sizes: Vec<u32> = std::iter::from_fn(|| receive(&b)).map(|t| t.size()).collect();
    assert_eq!(sizes, [60, 62]);
    assert_eq!(b.stats().rx_dropped.invalid, 1);
}

#[test]
fn fragments_are_put_together() {
    for (sender, receiver) in [("uj{1", "netmap:uj}1"), ("vale93:a", "netmap:vale93:b")] {
        let (port, b) = (raw(sender, Register::default()), open(receiver));
        let region = memory(&b);
        let used = region.audit();
        put(&port, &[(100, MOREFRAG), (50, MOREFRAG), (7, 0), (64, 0)]);
        let packet = receive(&b).unwrap().consume(b.context());
        let bytes = |slot: usize, len: usize| (0..len).map(move |i| (i + slot * 7) as u8);
        assert!(packet.iter().copied().eq(bytes(0, 100).chain(bytes(1, 50)).chain(bytes(2, 7))));
        assert_eq!(receive(&b).unwrap().size(), 64);
        // Longer than a buffer: lost, and counted.
        put(&port, &[(2048, MOREFRAG), (2048, 0), (65, 0)]);
        assert_eq!(receive(&b).unwrap().size(), 65);
        assert_eq!(b.stats().rx_dropped.oversize, 1);
        // A packet that is not all there is not shown.
        put(&port, &[(70, 0), (80, MOREFRAG)]);
        assert_eq!(receive(&b).unwrap().size(), 70);
        assert!(receive(&b).is_none());
        put(&port, &[(1, 0)]);
        assert_eq!(receive(&b).unwrap().size(), 81);
        drop(packet);
        assert_eq!((region.audit(), b.frames_in_flight()), (used, Some(0)));
    }
}

#[test]
fn a_packet_as_long_as_the_ring_does_not_stop_it() {
    let request = Register { tx_slots: 4, rx_slots: 4, ..Register::default() };
    let port = raw("uk{1", request);
    let b = open("netmap:uk}1");
    put(&port, &[(10, MOREFRAG), (10, MOREFRAG), (10, 0)]);
    b.rxsync().unwrap();
    let (_, ring) = b.layout.rx[0];
    // SAFETY: vandalism: the packet seems to go on behind the ring.
    unsafe { ring.set_slot(2, Slot { flags: MOREFRAG, ..ring.slot(2) }) };
    assert!(receive(&b).is_none());
    assert_eq!(b.stats().rx_dropped.oversize, 1);
    put(&port, &[(33, 0)]);
    assert_eq!(receive(&b).unwrap().size(), 33);
}

#[test]
fn receiving_while_receiving_harms_nothing() {
    let (a, b) = (open("netmap:ul{1"), open("netmap:ul}1"));
    let region = memory(&a);
    for i in 0..20u8 {
        a.send(&[i; 60]).unwrap();
    }
    a.flush();
    let seen = std::cell::RefCell::new(Vec::new());
    let note = |token: Token| seen.borrow_mut().push(token.consume(b.context())[0]);
    b.recv_each(15, |token, _| {
        note(token);
        if let Some(token) = receive(&b) {
            note(token);
        }
        let _ = b.wait(crate::api::Interest::Readable, Some(Duration::ZERO));
    })
    .unwrap();
    while let Some(token) = receive(&b) {
        note(token);
    }
    assert_eq!(*seen.borrow(), (0..20).collect::<Vec<u8>>());
    drop((a, b));
    assert_eq!(region.audit(), (0, 0));
}

#[test]
fn a_panic_in_the_callback_loses_no_buffer() {
    let (a, b) = (open("netmap:um{1"), open("netmap:um}1"));
    let region = memory(&a);
    for i in 0..4u8 {
        a.send(&[i; 60]).unwrap();
    }
    a.flush();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        b.recv_each(4, |token, _| {
            assert!(token.consume(b.context())[0] < 1, "on purpose");
        })
    }));
    assert!(caught.is_err());
    let rest: Vec<u8> = std::iter::from_fn(|| receive(&b)).map(|t| t.consume(b.context())[0]).collect();
    assert_eq!(rest, [2, 3]);
    assert_eq!(b.frames_in_flight(), Some(0));
    drop((a, b));
    assert_eq!(region.audit(), (0, 0));
}

#[test]
fn a_panic_while_receiving_while_receiving_stops_both() {
    let (a, b) = (open("netmap:un{1"), open("netmap:un}1"));
    let region = memory(&a);
    for i in 0..6u8 {
        a.send(&[i; 60]).unwrap();
    }
    a.flush();
    let seen = std::cell::RefCell::new(Vec::new());
    let note = |token: Token| seen.borrow_mut().push(token.consume(b.context())[0]);
    let got = b.recv_each(6, |token, _| {
        note(token);
        let inner = std::panic::AssertUnwindSafe(|| {
            b.recv_each(6, |token, _| {
                note(token);
                assert!(seen.borrow().len() < 3, "on purpose");
            })
        });
        // It leaves nothing behind that could be taken for what is shown here.
        assert!(std::panic::catch_unwind(inner).is_err());
    });
    assert_eq!((got.unwrap(), seen.borrow().as_slice()), (1, &[0, 1, 2][..]));
    while let Some(token) = receive(&b) {
        note(token);
    }
    assert_eq!(*seen.borrow(), [0, 1, 2, 3, 4, 5]);
    drop((a, b));
    assert_eq!(region.audit(), (0, 0));
}

#[test]
fn sending_while_sending_loses_nothing() {
    let (a, b) = (open("netmap:uq{1"), open("netmap:uq}1"));
    let region = memory(&a);
    for flush in [false, true] {
        let packets: Vec<[u8; 60]> = (0..6).map(|n| [2 * n; 60]).collect();
        let with_others = packets.iter().map(|packet| {
            if packet[0] > 0 {
                a.send(&[packet[0] - 1; 60]).unwrap();
                if flush {
                    a.flush();
                }
            }
            packet.as_slice()
        });
        assert_eq!(a.send_batch(with_others).unwrap(), 6);
        a.flush();
        let got: Vec<u8> = std::iter::from_fn(|| receive(&b)).map(|t| t.consume(b.context())[0]).collect();
        assert_eq!(got, (0..11).collect::<Vec<u8>>());
    }
    assert_eq!(a.stats().tx_submitted, 22);
    drop((a, b));
    assert_eq!(region.audit(), (0, 0));
}

#[test]
fn a_slot_that_changes_under_the_callback_is_given_up() {
    for keep in [false, true] {
        let (port, b) = (raw("uo{1", Register::default()), open("netmap:uo}1"));
        put(&port, &[(60, 0), (61, 0), (62, 0)]);
        let (_, ring) = b.layout.rx[0];
        let mut kept = Vec::new();
        let got = b.recv_each(3, |token, _| {
            assert_eq!(token.size(), 60);
            if keep {
                kept.push(token)
            } else {
                drop(token.consume(b.context()))
            }
            // SAFETY: vandalism.
            unsafe { ring.set_slot(0, Slot { buf_idx: u32::MAX, ..ring.slot(0) }) };
            assert!(receive(&b).is_none(), "where the packet lies cannot be told, so all that waits is lost");
        });
        assert_eq!(got.unwrap(), 1);
        drop(kept);
    }
}

#[test]
fn small_rings_go_round() {
    let request = Register { tx_slots: 8, rx_slots: 8, ..Register::default() };
    let (port, b) = (raw("up{1", request), open("netmap:up}1"));
    let region = memory(&b);
    let used = region.audit();
    let (_, far) = port.rx[0];
    let (mut sent, mut seen, mut kept) = (0u16, 0u16, Vec::new());
    let mut state = 5u32;
    let mut below = |n: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % n
    };
    for _ in 0..2_000 {
        // In: some are kept for a while, some packets are in two slots.
        let mut slots = Vec::new();
        for _ in 0..below(4) {
            if below(4) == 0 {
                slots.push((20, MOREFRAG));
                slots.push((1000 + sent % 500 - 20, 0));
            } else {
                slots.push((1000 + sent % 500, 0));
            }
            sent += 1;
        }
        put(&port, &slots);
        while seen < sent {
            let max = 1 + below(5) as usize;
            let got = b.recv_each(max, |token, _| {
                assert_eq!(token.size(), u32::from(1000 + seen % 500));
                seen += 1;
                if below(3) == 0 { kept.push(token) } else { drop(token.consume(b.context())) }
            });
            assert!((1..=max).contains(&got.unwrap()));
        }
        assert!(receive(&b).is_none(), "and the slots go back");
        kept.truncate(below(8) as usize);
        assert_eq!(b.frames_in_flight(), Some(kept.len()));

        // Out, in batches that end anywhere in the ring, or at its end.
        let packets: Vec<Vec<u8>> = (0..below(8)).map(|n| vec![n as u8; 60 + 90 * n as usize]).collect();
        assert_eq!(b.send_batch(packets.iter().map(Vec::as_slice)).unwrap(), packets.len());
        b.flush();
        port.device().rxsync().unwrap();
        let mut at = far.head();
        for packet in &packets {
            // SAFETY: before `tail`, the slot is ours.
            let slot = unsafe { far.slot(at) };
            // SAFETY: the buffer is the slot's.
            let byte =
                unsafe { port.buffers().0.add((slot.buf_idx * port.buf_size) as usize + packet.len() - 1).read() };
            assert_eq!((usize::from(slot.len), byte), (packet.len(), packet[0]));
            at = far.next(at);
        }
        assert_eq!(at, far.tail());
        far.set_head(at);
        port.device().rxsync().unwrap();
    }
    assert!(sent > 1_000 && b.stats().tx_submitted > 5_000);
    drop(kept);
    assert_eq!((region.audit(), b.frames_in_flight()), (used, Some(0)));
}

/// A device whose memory says what the test wants.
#[derive(Debug)]
struct Liar {
    answer: Register,
    memory: Mapping,
}

impl Device for Liar {
    fn answer(&self) -> &Register {
        &self.answer
    }
    fn memory(&self) -> &Mapping {
        &self.memory
    }
    fn txsync(&self) -> io::Result<()> {
        Ok(())
    }
    fn rxsync(&self) -> io::Result<()> {
        Ok(())
    }
    fn wait(&self, _: bool, _: bool, _: Option<Duration>) -> io::Result<bool> {
        Ok(false)
    }
    fn fd(&self) -> BorrowedFd<'_> {
        unreachable!("nobody asks")
    }
}

/// A memory of 64 KiB with a `netmap_if` at 0, two rings of 8 slots at 4096 and 8192, and buffers at 16384.
fn liar(
    lie: impl FnOnce(&mut Register, &mut NetmapIf, &mut [isize; 4], &mut [NetmapRing; 2]),
) -> Result<Layout, Netmap> {
    let memory = Mapping::anonymous(65536).unwrap();
    let mut answer = Register { mode: sys::REG_ALL_NIC, memsize: 65536, ..Register::default() };
    // SAFETY: all of it lies inside the mapping, which is the test's own; zeroes are valid for each of the structures.
    unsafe {
        let base = memory.base();
        let nifp = base.cast::<NetmapIf>();
        let offsets = base.add(56).cast::<[isize; 4]>();
        let mut rings: [NetmapRing; 2] = std::mem::zeroed();
        for (ring, at) in rings.iter_mut().zip([4096, 8192]) {
            (ring.num_slots, ring.buf_size, ring.buf_ofs) = (8, 2048, 16384 - at);
        }
        let nifp = &mut *nifp.as_ptr();
        (nifp.tx_rings, nifp.rx_rings, nifp.host_tx_rings, nifp.host_rx_rings) = (1, 1, 1, 1);
        *offsets.as_ptr() = [4096, 0, 8192, 0];
        lie(&mut answer, nifp, &mut *offsets.as_ptr(), &mut rings);
        for (ring, at) in rings.into_iter().zip([4096, 8192]) {
            base.add(at).cast::<NetmapRing>().write(ring);
        }
    }
    Layout::find(Box::new(Liar { answer, memory }), "liar")
}

#[test]
fn a_memory_is_believed_only_after_a_look() {
    let good = liar(|_, _, _, _| {}).unwrap();
    assert_eq!((good.total, good.buf_size, good.tx.len(), good.rx.len()), (24, 2048, 1, 1));
    type Lie = fn(&mut Register, &mut NetmapIf, &mut [isize; 4], &mut [NetmapRing; 2]);
    let lies: [(&str, Lie); 17] = [
        ("netmap_if", |r, _, _, _| r.offset = 65536 - 48),
        ("netmap_if", |r, _, _, _| r.offset = 4),
        ("netmap_if", |r, _, _, _| r.offset = u64::MAX),
        ("number of rings", |_, n, _, _| n.tx_rings = u32::MAX),
        ("number of rings", |_, n, _, _| n.host_rx_rings = 0xffff),
        ("number of rings", |_, n, _, _| n.rx_rings = 0),
        ("this registration", |r, _, _, _| (r.mode, r.ringid) = (sys::REG_ONE_NIC, 1)),
        ("place of a ring", |r, _, _, _| r.mode = sys::REG_SW),
        ("place of a ring", |_, _, o, _| o[0] = 0),
        ("place of a ring", |_, _, o, _| o[0] = 4097),
        ("place of a ring", |_, _, o, _| o[0] = -8),
        ("place of a ring", |_, _, o, _| o[2] = 65536 - 64),
        ("place of a ring", |_, _, _, r| r[0].num_slots = 5000),
        ("place of a ring", |_, _, _, r| r[1].num_slots = 1),
        ("place of a ring", |_, _, _, r| r[1].head = 8),
        ("place of a ring", |_, _, _, r| r[1].buf_ofs += 64),
        ("place of a ring", |_, _, _, r| r[0].buf_ofs = 1 << 40),
    ];
    for (i, (part, lie)) in lies.into_iter().enumerate() {
        let error = liar(lie).expect_err(&format!("lie {i} is believed"));
        assert!(error.to_string().contains(part), "lie {i}: {error}");
    }
}

#[test]
fn a_list_of_extra_buffers_is_believed_only_so_far() {
    let with = |count: u32, links: &[(u32, u32)], head: u32| {
        let layout = liar(|r, n, _, _| (r.extra_bufs, n.bufs_head) = (count, head)).unwrap();
        for (from, to) in links {
            // SAFETY: buffers of the test's own memory.
            unsafe { layout.buffers().0.add(*from as usize * 2048).cast::<u32>().write(*to) };
        }
        let taken = layout.take_extra();
        assert!(layout.take_extra().is_empty(), "it is taken once");
        taken
    };
    assert_eq!(with(3, &[(5, 9), (9, 2), (2, 0)], 5), [5, 9, 2]);
    assert_eq!(with(0, &[(5, 9)], 5), []);
    assert_eq!(with(9, &[(5, 24)], 5), [5], "an index outside ends it");
    assert_eq!(with(9, &[(5, 1)], 5), [5], "so does one of the kernel's own");
    assert_eq!(with(3, &[(5, 6), (6, 5)], 5), [5, 6, 5], "a circle is cut");
}

#[test]
fn rings_of_a_registration() {
    let numbers = |rings: &[(u32, Ring)]| rings.iter().map(|(n, _)| *n).collect::<Vec<_>>();
    let of = |name: &str, mode, ringid| {
        let port = raw(name, Register { mode, ringid, ..Register::default() });
        (numbers(&port.tx), numbers(&port.rx))
    };
    assert_eq!(of("emu6", sys::REG_ALL_NIC, 0), (vec![0, 1, 2, 3], vec![0, 1, 2, 3]));
    assert_eq!(of("emu6", sys::REG_ONE_NIC, 2), (vec![2], vec![2]));
    assert_eq!(of("emu6", sys::REG_SW, 0), (vec![0], vec![0]));
    assert_eq!(of("emu6", sys::REG_ONE_SW, 0), (vec![0], vec![0]));
    for (name, mode, ringid) in [
        ("emu6", sys::REG_ONE_NIC, 4),
        ("emu6", sys::REG_ONE_SW, 1),
        ("vale94:a", sys::REG_SW, 0),
        ("un{1", sys::REG_SW, 0),
        ("vale94:", sys::REG_ALL_NIC, 0),
    ] {
        let error = Emulated::register(name, Register { mode, ringid, ..Register::default() }).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{name} {mode} {ringid}");
    }
    let gone = Emulated::register("eth0", Register { mode: sys::REG_ALL_NIC, ..Register::default() }).unwrap_err();
    assert_eq!(gone.raw_os_error(), Some(libc::ENXIO));
    let nowhere = Register { mode: sys::REG_ALL_NIC, mem_id: 60_000, ..Register::default() };
    assert_eq!(Emulated::register("vale94:a", nowhere).unwrap_err().raw_os_error(), Some(libc::EINVAL));
}
