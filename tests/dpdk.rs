//! x
#![cfg(all(target_os = "linux", feature = "dpdk"))]
use nethuns_rs::api::*;
use nethuns_rs::dpdk::{DpdkFlags, Eal, Sock};
#[test]
fn memif() {
    let f = DpdkFlags { num_mbufs: std::env::var("N").map_or(8192, |n| n.parse().unwrap()), mbuf_cache_size: 8, ..Default::default() };
    let a = Sock::create("dpdk:net_memif0,role=server,socket=/tmp/dpdk-scratch/m,socket-abstract=no", None, f.clone()).unwrap();
    let b = Sock::create("dpdk:net_memif1,role=client,socket=/tmp/dpdk-scratch/m,socket-abstract=no", None, f).unwrap();
    for i in 0..100 { 
        println!("{i} {:?} {:?}", a.link().unwrap().carrier, b.link().unwrap().carrier);
        println!("send {:?}", a.send(&[7; 60])); a.flush();
        println!("send {:?}", b.send(&[7; 60])); b.flush();
        std::thread::sleep(std::time::Duration::from_millis(20));
        println!("{:?} {:?}", b.recv().map(|x|x.0.len()), a.recv().map(|x|x.0.len()));
        if i > 3 { break }
    }
    println!("{:?} {:?}", a.stats(), b.stats());
    println!("{:?} {:?}", a.xstats(), b.xstats());
    println!("{:?}", a.mode().to_string());
}
