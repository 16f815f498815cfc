//! The in-memory wire and the channel, as the documents show them.
use nethuns_rs::api::{Batch, Socket};
use nethuns_rs::mem::{MemFlags, Sock};

#[test]
fn channel_as_documented() {
    const BATCH_SIZE: usize = 32;
    let other = Sock::create("mem:chan", None, MemFlags::default()).unwrap();
    let (socket, pusher, popper) =
        Sock::create_with_channel::<BATCH_SIZE>("mem:chan", None, MemFlags::default(), flume::bounded(1024)).unwrap();
    for i in 0..100u8 {
        other.send(&[i; 60]).unwrap();
    }
    let producer = std::thread::spawn(move || {
        loop {
            let mut batch = Batch::new();
            if socket.recv_tokens(&mut batch).unwrap() == 0 {
                break socket;
            }
            pusher.push(batch).unwrap();
        }
    });
    let second = popper.clone();
    let count = |popper: nethuns_rs::api::NethunsPopper<_, BATCH_SIZE>| {
        std::thread::spawn(move || {
            let mut n = 0;
            while let Some(batch) = popper.pop() {
                for packet in batch {
                    assert_eq!(packet.len(), 60);
                    n += 1;
                }
            }
            n
        })
    };
    let (a, b) = (count(popper), count(second));
    let socket = producer.join().unwrap();
    assert_eq!(a.join().unwrap() + b.join().unwrap(), 100);
    assert_eq!(socket.frames_in_flight(), Some(0));
}
