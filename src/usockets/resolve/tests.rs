use super::{Desk, Found, Lookup, Resolver, THREADS, Ticket, literal};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(20);
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// A lookup that answers when it is told to, and fails for the host `bad`.
struct Gate {
    /// Each lookup that has begun.
    begun: Receiver<String>,
    /// A lookup may end.
    go: Sender<()>,
    lookup: Arc<Lookup>,
}

fn gate() -> Gate {
    let (begin, begun) = channel();
    let (go, wait) = channel::<()>();
    let (begin, wait) = (Mutex::new(begin), Mutex::new(wait));
    let lookup = move |host: &str, port| -> Found {
        begin.lock().unwrap().send(host.to_owned()).unwrap();
        // A test that is over lets everybody go.
        let _ = wait.lock().unwrap().recv();
        if host == "bad" { Err(std::io::ErrorKind::NotFound.into()) } else { Ok(vec![SocketAddr::new(ADDRESS, port)]) }
    };
    Gate { begun, go, lookup: Arc::new(lookup) }
}

/// A resolver, and a word for each time that it wakes.
fn resolver(lookup: &Arc<Lookup>, idle: Duration) -> (Resolver, Receiver<()>) {
    let (wake, woken) = channel();
    let wake = Mutex::new(wake);
    let wake = move || {
        let _ = wake.lock().unwrap().send(());
    };
    (Resolver::with(wake, lookup.clone(), idle), woken)
}

fn wait_until(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < LONG, "waited in vain");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn threads(desk: &Desk) -> usize {
    desk.lock().threads
}

#[test]
fn a_name_is_looked_up_and_the_loop_woken() {
    let (wake, woken) = channel();
    let wake = Mutex::new(wake);
    let resolver = Resolver::new(move || wake.lock().unwrap().send(()).unwrap());
    assert!(resolver.finished().is_none());
    // The system's own lookup, of what it answers without a server.
    let ticket = resolver.start("127.0.0.1", 80);
    assert_eq!(resolver.open.get(), 1);
    woken.recv_timeout(LONG).unwrap();
    let (told, found) = resolver.finished().unwrap();
    assert_eq!((told, found.unwrap()), (ticket, vec!["127.0.0.1:80".parse().unwrap()]));
    assert!(resolver.finished().is_none() && resolver.open.get() == 0);
}

#[test]
fn what_no_name_can_be_is_an_error() {
    let (resolver, woken) = {
        let (wake, woken) = channel();
        let wake = Mutex::new(wake);
        (Resolver::new(move || wake.lock().unwrap().send(()).unwrap()), woken)
    };
    let ticket = resolver.start("a\0b", 80);
    woken.recv_timeout(LONG).unwrap();
    let (told, found) = resolver.finished().unwrap();
    assert_eq!(told, ticket);
    found.unwrap_err();
}

#[test]
fn four_threads_share_the_work() {
    let gate = gate();
    let (resolver, woken) = resolver(&gate.lookup, LONG);
    let hosts = ["a", "b", "bad", "c", "d", "e", "f"];
    let tickets = hosts.map(|host| resolver.start(host, 7));
    let mut begun: Vec<String> = (0..THREADS).map(|_| gate.begun.recv_timeout(LONG).unwrap()).collect();
    assert_eq!(threads(&resolver.desk), THREADS);
    assert!(gate.begun.recv_timeout(Duration::from_millis(20)).is_err(), "a fifth at the same time");
    hosts.iter().for_each(|_| gate.go.send(()).unwrap());
    hosts.iter().for_each(|_| woken.recv_timeout(LONG).unwrap());
    begun.extend(gate.begun.try_iter());
    begun.sort_unstable();
    assert_eq!(begun, ["a", "b", "bad", "c", "d", "e", "f"]);
    let mut told: Vec<(Ticket, bool)> =
        std::iter::from_fn(|| resolver.finished()).map(|(ticket, found)| (ticket, found.is_ok())).collect();
    told.sort_unstable_by_key(|(ticket, _)| ticket.0);
    assert_eq!(told, tickets.into_iter().zip(hosts).map(|(t, host)| (t, host != "bad")).collect::<Vec<_>>());
    assert_eq!(resolver.open.get(), 0);
    // One who is idle takes the next, no thread is made.
    wait_until(|| resolver.desk.lock().idle == THREADS);
    gate.go.send(()).unwrap();
    resolver.start("g", 7);
    woken.recv_timeout(LONG).unwrap();
    assert!(resolver.finished().is_some() && threads(&resolver.desk) == THREADS);
}

#[test]
fn a_cancelled_lookup_is_never_told_of() {
    let gate = gate();
    let (resolver, woken) = resolver(&gate.lookup, LONG);
    let running: Vec<Ticket> = (0..THREADS).map(|_| resolver.start("running", 1)).collect();
    (0..THREADS).for_each(|_| drop(gate.begun.recv_timeout(LONG).unwrap()));
    let waiting = resolver.start("waiting", 1);
    resolver.cancel(waiting);
    resolver.cancel(running[0]);
    resolver.cancel(running[0]);
    assert_eq!(resolver.open.get(), THREADS - 1);
    (0..THREADS).for_each(|_| gate.go.send(()).unwrap());
    (1..THREADS).for_each(|_| woken.recv_timeout(LONG).unwrap());
    // One that is over and not taken.
    resolver.cancel(running[1]);
    let told: Vec<Ticket> = std::iter::from_fn(|| resolver.finished()).map(|(ticket, _)| ticket).collect();
    assert!(told.len() == THREADS - 2 && told.iter().all(|ticket| running[2..].contains(ticket)));
    assert_eq!(resolver.open.get(), 0);
    resolver.cancel(running[2]);
    assert!(gate.begun.try_recv().is_err(), "the one that waited was not begun");
}

#[test]
fn threads_without_work_end() {
    let gate = gate();
    let (resolver, woken) = resolver(&gate.lookup, Duration::from_millis(5));
    for round in 0..3 {
        gate.go.send(()).unwrap();
        resolver.start("a", round);
        woken.recv_timeout(LONG).unwrap();
        assert!(resolver.finished().is_some());
        wait_until(|| threads(&resolver.desk) == 0);
    }
}

#[test]
fn dropping_waits_for_nothing_and_leaves_nothing() {
    let gate = gate();
    let woken = Arc::new(AtomicUsize::new(0));
    let counter = woken.clone();
    let wake = move || {
        counter.fetch_add(1, Ordering::Relaxed);
    };
    let resolver = Resolver::with(wake, gate.lookup.clone(), LONG);
    resolver.start("slow", 1);
    gate.begun.recv_timeout(LONG).unwrap();
    for _ in 0..10 {
        resolver.start("waits", 1);
    }
    (1..THREADS).for_each(|_| drop(gate.begun.recv_timeout(LONG).unwrap()));
    drop(resolver);
    // All threads are in the midst of a lookup, and yet nothing of the loop's is alive.
    assert_eq!(Arc::strong_count(&woken), 1);
    drop(gate.go);
    wait_until(|| Arc::strong_count(&gate.lookup) == 1);
    assert_eq!(woken.load(Ordering::Relaxed), 0);
}

#[test]
fn idle_threads_end_with_the_resolver() {
    let gate = gate();
    let (resolver, woken) = resolver(&gate.lookup, Duration::from_secs(3600));
    gate.go.send(()).unwrap();
    resolver.start("a", 1);
    woken.recv_timeout(LONG).unwrap();
    let desk = Arc::downgrade(&resolver.desk);
    drop(resolver);
    wait_until(|| desk.strong_count() == 0);
}

#[test]
fn what_needs_no_lookup() {
    let loopback = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    for host in ["127.0.0.1", "localhost", "LocalHost", "localhost.", "a.b.localhost"] {
        assert_eq!(literal(host), loopback, "{host}");
    }
    for host in ["::1", "[::1]"] {
        assert_eq!(literal(host), Some(IpAddr::V6(Ipv6Addr::LOCALHOST)), "{host}");
    }
    for host in
        ["", ".", "[", "[]", "[127.0.0.1]", "[::1", "example.com", "localhost.com", "notlocalhost", "1.2.3", "::1%lo"]
    {
        assert_eq!(literal(host), None, "{host}");
    }
}
