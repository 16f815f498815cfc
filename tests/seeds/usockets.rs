//! The uSockets layer's document, section by section: every block that uses the API, changed only where
//! `docs/compatibility.md` says so and why.
#![allow(unsafe_code)]

use crate::common::netns::{Lab, run};
use nethuns_rs::usockets::*;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// Runs an example where its ports are free and its hosts are ours: in a network namespace, with `example.com` in a file
/// of hosts that nobody else sees.
fn alone(test: &str, example: impl FnOnce() + Send + 'static) {
    let test = test.to_owned();
    let thread = thread::spawn(move || {
        let Some(_lab) = Lab::enter(&test) else { return };
        // SAFETY: unshare takes no pointers; it affects this thread and those that it starts.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0, "{}", std::io::Error::last_os_error());
        run("mount", "--make-rprivate /");
        let hosts = format!("{}/seed-hosts-{:?}", env!("CARGO_TARGET_TMPDIR"), thread::current().id());
        std::fs::write(&hosts, "127.0.0.1 example.com\n").unwrap();
        run("mount", &format!("--bind {hosts} /etc/hosts"));
        example();
    });
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// Ends a loop in which something would go on for ever, when `enough` has come.
fn end_when<T: 'static>(handle: LoopHandle<T>, enough: mpsc::Receiver<()>, end: fn(LoopMut<'_, T>)) {
    thread::spawn(move || {
        enough.recv_timeout(PATIENCE).expect("enough");
        handle.defer_callback(LoopCallback::Fn(end)).expect("a loop");
    });
}

/// "Error Handling".
#[test]
fn every_documented_error_can_be_told() {
    fn documented(error: UsError) -> bool {
        match error {
            UsError::LoopAlreadyRunning
            | UsError::LoopExtNull
            | UsError::TimerExtNull
            | UsError::SocketContextExtNull
            | UsError::SocketExtNull
            | UsError::NotOnLoopThread
            | UsError::LoopNotRunning
            | UsError::TimerLoopNull
            | UsError::AllocationFailed
            | UsError::InvalidStringConversion => true,
            UsError::LoopCreation { message }
            | UsError::TimerCreation { message }
            | UsError::SocketContextCreation { message } => message == "m",
            UsError::InvalidHostString { host } | UsError::InvalidSourceHostString { host } => host == "m",
            UsError::MutexLockFailed { operation } | UsError::NetworkOperation { operation } => operation == "m",
            _ => false,
        }
    }
    assert!(documented(UsError::LoopCreation { message: String::from("m") }));
    assert!(documented(UsError::MutexLockFailed { operation: String::from("m") }));
    assert!(documented(UsError::InvalidHostString { host: String::from("m") }));
}

/// "Event Loop": creation and key methods.
#[test]
fn event_loop() -> Result<(), UsError> {
    let my_data = String::from("mine");

    // Create with default extension data
    let loop_ = Loop::new()?;

    let _: LoopHandle<()> = loop_.handle();
    let _: Timer<()> = loop_.create_timer()?;
    let _: SocketContext<false, (), u8> = loop_.create_socket_context(SocketContextOptions::default())?;
    let _: Result<(), UsError> = loop_.run();

    // Create with custom extension data
    let loop_ = Loop::with_ext(my_data)?;

    loop_.run_simple()?;
    Ok(())
}

/// "LoopHandle<T>", "LoopMut<'a, T>".
#[test]
fn handles() -> Result<(), UsError> {
    fn is_shared<H: Send + Sync>(_: &H) {}
    let loop_ = Loop::new()?;
    let handle = loop_.handle();
    is_shared(&handle);
    let _: bool = handle.is_on_loop_thread();
    let _: bool = handle.is_loop_running();
    handle.defer(|loop_mut| {
        let _: LoopHandle<()> = loop_mut.handle();
        let _: Result<Timer<u32>, UsError> = loop_mut.create_timer::<u32>();
        let _ = loop_mut.defer(|_| {});
    })?;
    loop_.run()
}

/// "Callback Types".
#[test]
#[allow(clippy::type_complexity, reason = "the types are the document's")]
fn callback_types() -> Result<(), UsError> {
    fn build<T: 'static>() -> [LoopCallback<T>; 3] {
        let boxed: Box<dyn FnOnce(LoopMut<T>) + Send + 'static> = Box::new(|_| {});
        // `Sync` too: see docs/compatibility.md.
        let shared: Arc<dyn Fn(LoopMut<T>) + Send + Sync + 'static> = Arc::new(|_| {});
        fn plain<T>(_: LoopMut<T>) {}
        [LoopCallback::Box(boxed), LoopCallback::Arc(shared), LoopCallback::Fn(plain)]
    }
    let loop_ = Loop::new()?;
    for callback in build() {
        loop_.handle().defer_callback(callback)?;
    }
    loop_.run()
}

/// "Timers".
#[test]
fn timers() -> Result<(), UsError> {
    let loop_ = Loop::new()?;

    #[allow(unused_mut)]
    let mut timer = loop_.create_timer()?;

    // Set timer with callback
    timer.set(1000, 0, |timer| {
        println!("Timer fired!");
        let _ = timer;
    })?;

    // Reset timer without changing callback
    timer.reset(2000, 1000)?;

    assert!(timer.ext().is_none());

    // Close timer explicitly
    timer.close()?;

    loop_.run()
}

#[derive(Default)]
struct MySocketData {
    requests: u32,
}

/// "Socket Contexts": configuration, creation, server operations, the callback system.
#[test]
fn socket_contexts() {
    alone("seeds::usockets::socket_contexts", || {
        let serve = || -> Result<(), UsError> {
            let options = SocketContextOptions {
                key_file_name: None,
                cert_file_name: None,
                passphrase: None,
                dh_params_file_name: None,
                ca_file_name: None,
                ssl_ciphers: None,
                ssl_prefer_low_memory_usage: false,
                // Fields that the document does not have.
                ..Default::default()
            };
            let loop_ = Loop::new()?;

            let ctx = loop_.create_socket_context::<false, MySocketData>(options)?;

            ctx.on_pre_open(|_| true);
            ctx.on_open(|_, _, _| {});
            ctx.on_close(|_, _, _| {});
            ctx.on_data(|socket, _| socket.ext_mut().expect("user data").requests += 1);
            ctx.on_writable(|_| {});
            ctx.on_timeout(|_| {});
            ctx.on_long_timeout(|_| {});
            ctx.on_connect_error(|_, _| {});
            ctx.on_end(|_| {});
            ctx.on_server_name(|_, _| {});

            // Listen for connections
            let listen_socket = ctx.listen("127.0.0.1", 8080, 0)?;

            // Connect to remote server
            let socket = ctx.connect("example.com", 80, None, 0)?;

            assert_eq!(listen_socket.port(), 8080);
            assert!(socket.is_some());
            listen_socket.close();
            ctx.close();
            loop_.run()
        };
        serve().unwrap();
    });
}

/// "Sockets": every method of the document, on a connection.
#[test]
fn sockets() {
    alone("seeds::usockets::sockets", || {
        let server = TcpListener::bind("127.0.0.1:80").unwrap();
        let reader = thread::spawn(move || {
            let mut text = String::new();
            server.accept().unwrap().0.read_to_string(&mut text).unwrap();
            text
        });
        let use_them = || -> Result<(), UsError> {
            let loop_ = Loop::new()?;
            let ctx = loop_.create_socket_context::<false, ()>(SocketContextOptions::default())?;
            ctx.on_open(|socket, _, _| {
                let (data, header, payload, code) = (b"data;", b"header;", b"payload;", 7);
                let msg_more = true;

                // Write data with optional MSG_MORE flag
                let bytes_written = socket.write(data, msg_more);
                assert_eq!(bytes_written, 5);

                // Write header + payload in single operation
                let bytes_written = socket.write2(header, payload);
                assert_eq!(bytes_written, 15);

                // Flush pending writes
                socket.flush();

                let is_closed = socket.is_closed();
                let is_shut_down = socket.is_shut_down();
                let local_port = socket.local_port();
                let remote_port = socket.remote_port();
                let remote_addr = socket.remote_address();
                assert!(!is_closed && !is_shut_down && local_port > 0 && remote_port == 80);
                assert_eq!(remote_addr, Some("127.0.0.1".parse().unwrap()));

                socket.set_timeout(30); // 30 seconds
                socket.set_long_timeout(5); // 5 minutes

                // Graceful shutdown
                socket.shutdown();

                // Shutdown read side only
                socket.shutdown_read();

                // Force close with code
                socket.close(code);
                assert!(socket.is_closed());
            });
            ctx.connect("example.com", 80, None, 0)?;
            loop_.run()
        };
        use_them().unwrap();
        assert_eq!(reader.join().unwrap(), "data;header;payload;");
    });
}

/// "Usage Patterns: Basic Server".
#[test]
fn basic_server() {
    alone("seeds::usockets::basic_server", || {
        let client = thread::spawn(|| {
            let mut client = std::iter::repeat_with(|| {
                thread::sleep(Duration::from_millis(5));
                TcpStream::connect("127.0.0.1:8080")
            })
            .take(2000)
            .find_map(Result::ok)
            .expect("a server");
            client.write_all(b"hello").unwrap();
            let mut back = [0; 5];
            client.read_exact(&mut back).unwrap();
            back
        });
        let serve = || -> Result<(), UsError> {
            // Create loop
            let loop_ = Loop::new()?;

            // Create socket context
            #[allow(unused_mut)]
            let mut ctx = loop_.create_socket_context::<false, ()>(SocketContextOptions::default())?;

            // Set up callbacks
            ctx.on_open(|_, is_client, ip| assert!(!is_client && ip == [127, 0, 0, 1]));
            ctx.on_data(|socket, data| assert_eq!(socket.write(data, false), data.len()));
            ctx.on_end(|socket| socket.close(0));

            // Start listening
            let listen_socket = ctx.listen("127.0.0.1", 8080, 0)?;

            // What the document leaves open is how it ends: here, with the first client.
            let close = std::cell::Cell::new(Some(listen_socket));
            ctx.on_close(move |_, _, _| close.take().expect("one client").close());

            // Run event loop
            loop_.run()?;
            Ok(())
        };
        serve().unwrap();
        assert_eq!(client.join().unwrap(), *b"hello");
    });
}

/// "Usage Patterns: Client Connection".
#[test]
fn client_connection() {
    alone("seeds::usockets::client_connection", || {
        let server = TcpListener::bind("127.0.0.1:80").unwrap();
        let thread = thread::spawn(move || {
            let mut connection = server.accept().unwrap().0;
            let mut request = [0; 18];
            connection.read_exact(&mut request).unwrap();
            connection.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
            request
        });
        let ask = || -> Result<(), UsError> {
            let loop_ = Loop::new()?;

            // Create socket context
            let ctx = loop_.create_socket_context::<false, ()>(SocketContextOptions::default())?;

            // The document writes at once; there is no connection yet then, and `write` takes nothing.
            ctx.on_open(|socket, _, _| {
                socket.write(b"GET / HTTP/1.1\r\n\r\n", false);
            });
            ctx.on_data(|_, data| assert!(data.starts_with(b"HTTP/1.1 204")));
            ctx.on_end(|socket| socket.close(0));

            // Connect to server
            if let Some(socket) = ctx.connect("example.com", 80, None, 0)? {
                assert_eq!(socket.write(b"GET / HTTP/1.1\r\n\r\n", false), 0);
            }

            // Run loop to handle connection
            loop_.run()?;
            Ok(())
        };
        ask().unwrap();
        assert_eq!(thread.join().unwrap(), *b"GET / HTTP/1.1\r\n\r\n");
    });
}

/// "Usage Patterns: Cross-thread Operations", and "Cross-thread Communication".
#[test]
fn cross_thread_operations() -> Result<(), UsError> {
    let (fired, enough) = mpsc::channel();
    // The document's loop has nothing to do but to wait for the other thread: something must keep it alive.
    let loop_ = Loop::with_ext(None::<Timer<()>>)?;
    let waiting = loop_.as_mut().create_timer()?;
    *loop_.as_mut().ext_mut().expect("user data") = Some(waiting);

    let handle = loop_.handle();
    end_when(handle.clone(), enough, |loop_mut| {
        let waiting = loop_mut.ext_mut().expect("user data").take();
        drop(waiting);
    });

    // From another thread
    let other = std::thread::spawn(move || {
        handle.defer(|_loop_mut| {
            // This runs on the loop thread
            println!("Executing on loop thread");
        })?;
        handle.defer(move |loop_mut| {
            // Create timer on loop thread. The closure returns nothing, so `?` needs a function of its own, and the timer
            // closes with its handle: it is left to the loop.
            let create = || -> Result<(), UsError> {
                let timer = loop_mut.create_timer::<()>()?;
                timer.set(10, 0, move |timer| {
                    println!("Timer from other thread!");
                    let _ = fired.send(());
                    let _ = timer.close();
                })?;
                timer.detach();
                Ok(())
            };
            create().expect("a timer");
        })
    });
    loop_.run()?;
    other.join().expect("the other thread")
}

/// "UDP Support".
#[test]
#[cfg(feature = "usockets-udp")]
fn udp_support() {
    alone("seeds::usockets::udp_support", || {
        let exchange = || -> Result<(), UsError> {
            let loop_ = Loop::new()?;
            let (told, received) = mpsc::channel();

            let mut buffer = UdpPacketBuffer::new()?;
            let payload = buffer.payload_mut(0); // Get mutable slice to packet data
            payload[..5].copy_from_slice(b"hello");

            let udp_socket = UdpSocket::create(
                &loop_,
                &mut buffer,
                Some("127.0.0.1"),
                8080,
                Some(Box::new(move |socket, buffer, num_packets| {
                    // Handle received data
                    for packet in 0..num_packets {
                        told.send((buffer.payload(packet).to_vec(), buffer.peer(packet))).expect("a test");
                    }
                    socket.close();
                })),
                Some(Box::new(|socket| {
                    // Handle drain event
                    assert!(!socket.is_closed());
                })),
            )?;

            // Bind to address
            udp_socket.bind("0.0.0.0", 8080)?;

            // The document does not say to whom packets go: to the socket itself.
            let to = "127.0.0.1:8080".parse().expect("an address");
            buffer.set_packet_payload(0, 0, b"hello, ", to)?;
            buffer.set_packet_payload(0, 7, b"world", to)?;
            let num_packets = 1;

            // Send packets
            let packets_sent = udp_socket.send(&mut buffer, num_packets)?;
            assert_eq!(packets_sent, 1);

            loop_.run()?;
            let (bytes, peer) = received.try_recv().expect("a packet");
            assert_eq!((&bytes[..], peer), (&b"hello, world"[..], Some(to)));

            // Receive packets, without a callback
            let loop_ = Loop::new()?;
            let udp_socket = UdpSocket::create(&loop_, &mut buffer, Some("127.0.0.1"), 8080, None, None)?;
            let packets_received = udp_socket.receive(&mut buffer)?;
            assert_eq!(packets_received, 0);
            Ok(())
        };
        exchange().unwrap();
    });
}
