#![cfg(all(target_os = "linux", feature = "dpdk"))]
use nethuns_rs::api::Socket;
use nethuns_rs::dpdk::{DpdkFlags, Eal, Sock};
#[test]
fn null() {
    let s = Sock::create("dpdk:net_null0", None, DpdkFlags::default()).unwrap();
    println!("{:?} {}", Eal::running(), s.mode());
    println!("{:?}", s.link());
    let (p, m) = s.recv().unwrap();
    println!("{} {m:?} {:?}", p.len(), s.frames_in_flight());
    drop(p);
    assert_eq!(s.frames_in_flight(), Some(0));
    println!("{:?}", s.stats());
}
#[test]
fn ring() {
    let s = Sock::create("dpdk:net_ring0", None, DpdkFlags::default()).unwrap();
    println!("{}", s.mode());
    s.send(b"hello there").unwrap();
    s.flush();
    let (p, m) = s.recv().unwrap();
    println!("{:?} {m:?}", &p[..]);
    drop(p);
    drop(s);
    let a = Sock::create("dpdk:net_ring0?wire=w", None, DpdkFlags::default()).unwrap();
    let b = Sock::create("dpdk:net_ring1?wire=w", None, DpdkFlags::default()).unwrap();
    a.send(b"hello there").unwrap();
    a.flush();
    let (p, _m) = b.recv().unwrap();
    assert_eq!(&p[..], b"hello there");
    println!("{:?} {:?}", a.stats(), b.stats());
    println!("{:?} {:?}", a.frames_in_flight(), b.frames_in_flight());
    println!("{:?}", a.xstats());
    for bad in ["dpdk:net_foo0", "dpdk:net_af_packet0,iface=nope", "dpdk:net_af_packet0", "dpdk:0000:77:00.0", "dpdk:eth0", "dpdk:net_null3?queues=2000","dpdk:net_null3?rx_checksum", "dpdk:net_ring0?wire=w", "dpdk:net_ring4?wire=w", "dpdk:net_null4?interrupts","dpdk:net_null5?num_mbufs=2000000", "dpdk:net_memif0,role=foo"] {
        println!("{bad}: {}", Sock::create(bad, None, DpdkFlags::default()).unwrap_err());
    }
        println!("{}", Sock::create("dpdk:net_null8", Some(3), DpdkFlags::default()).unwrap_err());
        println!("{}", Eal::start(["-l","9"]).unwrap_err());
}
#[test]
fn timing() {
    let t = std::time::Instant::now();
    Eal::start(Vec::<String>::new()).unwrap();
    println!("eal {:?}", t.elapsed());
    let t = std::time::Instant::now();
    let s = Sock::create("dpdk:net_null0", None, DpdkFlags::default()).unwrap();
    println!("open {:?}", t.elapsed());
    let t = std::time::Instant::now();
    drop(s);
    println!("close {:?}", t.elapsed());
}
