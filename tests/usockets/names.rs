//! Names that are resolved while the loop goes on.
#![allow(unsafe_code)]

use crate::common::{netns::run, skip};
use crate::world::{End, Network, World};
use std::cell::Cell;
use std::rc::Rc;

pub fn localhost_is_here(network: &Network) {
    let mut world = World::new(network);
    let end = End::<()>::new(&world);
    // On the engine too: 127.0.0.0/8 is served inside it.
    let listener = end.context.listen("127.0.0.1", 0, 0).unwrap();
    let port = u16::try_from(listener.port()).unwrap();
    let socket = end.context.connect("localhost", port, None, 0).unwrap().unwrap();
    world.until("a connection", || end.opened() == 2);
    assert_eq!(socket.remote_address(), Some("127.0.0.1".parse().unwrap()));
    listener.close();
}

pub fn nobody_has_that_name(network: &Network) {
    let mut world = World::new(network);
    let end = End::<()>::new(&world);
    // The loop goes on meanwhile.
    let ticks = Rc::new(Cell::new(0));
    let count = ticks.clone();
    let timer = world.event_loop.create_timer().unwrap();
    timer.set(1, 1, move |_| count.set(count.get() + 1)).unwrap();
    // Reserved for this by RFC 6761, section 6.4.
    let socket = end.context.connect("nobody.invalid", 80, None, 0).unwrap().expect("it is being looked for");
    assert!(!socket.is_closed() && !socket.is_established());
    assert_eq!((socket.write(b"x", false), socket.remote_address(), socket.remote_port()), (0, None, -1));
    let log = end.log.clone();
    world.until("nobody", || log.len() > 0);
    assert_eq!(end.log.len(), 1);
    assert!(end.log.all()[0].starts_with("connect error"), "{:?}", end.log.all());
    timer.close().unwrap();
    world.end();
    assert!(socket.is_closed() && end.log.len() == 1);
}

pub fn a_search_can_be_given_up(network: &Network) {
    let mut world = World::new(network);
    let end = End::<()>::new(&world);
    let socket = end.context.connect("nobody.invalid", 80, None, 0).unwrap().unwrap();
    socket.close(6);
    let second = end.context.connect("nobody.invalid", 80, None, 0).unwrap().unwrap();
    second.close_connecting();
    end.context.connect("nobody.invalid", 80, None, 0).unwrap().unwrap();
    end.context.close();
    world.end();
    end.says(&["close 6", "close 0"]);
    // A loop that is dropped meanwhile waits for nobody.
    end.context.connect("nobody.invalid", 80, None, 0).unwrap().unwrap();
    let start = std::time::Instant::now();
    drop(world);
    assert!(start.elapsed() < std::time::Duration::from_secs(1));
}

pub fn every_address_of_a_name_is_tried(network: &Network) {
    const NAME: &str = "names::every_address_of_a_name_is_tried";
    let network = network.clone();
    // A file of hosts of this thread's own: threads that it starts see the same.
    let thread = std::thread::spawn(move || {
        // SAFETY: unshare takes no pointers; it affects this thread only.
        if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
            return skip(NAME, format_args!("needs root (unshare: {})", std::io::Error::last_os_error()));
        }
        run("mount", "--make-rprivate /");
        let hosts = format!("{}/hosts-{}", env!("CARGO_TARGET_TMPDIR"), network.ips[0]);
        let [first, second] = network.ips;
        std::fs::write(&hosts, format!("{first} many.test\n{second} many.test\n{first} one.test\n")).unwrap();
        run("mount", &format!("--bind {hosts} /etc/hosts"));
        let mut world = World::new(&network);
        let (client, server) = (End::<()>::new(&world), End::<()>::new(&world));
        // Nobody listens on the one, somebody on the other: whichever order the resolver gives them.
        for ip in network.ips {
            let listener = server.context.listen(ip, 0, 0).unwrap();
            let port = u16::try_from(listener.port()).unwrap();
            let before = client.opened();
            let socket = client.context.connect("many.test", port, None, 0).unwrap().unwrap();
            world.until("a connection", || client.opened() > before);
            assert_eq!(socket.remote_address(), Some(ip.parse().unwrap()));
            listener.close();
            socket.close(0);
            server.context.close();
        }
        client.log.forget();
        client.context.connect("many.test", 1, None, 0).unwrap().unwrap();
        client.context.connect("one.test", 1, None, 0).unwrap().unwrap();
        let log = client.log.clone();
        world.until("refusals", || log.len() == 2);
        world.end();
        client.says(&["connect error Some(ConnectionRefused)"; 2]);
    });
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}
