//! The API reference of the packet layer, section by section.
//!
//! Blocks that define something are checked from the outside: a trait is declared here as it is documented and
//! implemented for everything that has the real one, a struct is built and taken apart field by field. Blocks that use
//! something are run.
#![allow(unsafe_code)]

/// "Core Traits": the documented traits, word for word, over everything that implements the real ones.
mod core_traits {
    use nethuns_rs::Result;
    use nethuns_rs::api::{self, BufferDesc, MetadataType, Payload, Token};
    use std::fmt::Debug;

    mod documented {
        use super::*;
        use nethuns_rs::api::{Context, Flags, Metadata};

        pub trait Socket: Send + Sized {
            type Context: Context;
            type Metadata: Metadata;
            type Flags: Flags;

            fn recv(&self) -> Result<(Payload<'_, Self::Context>, Self::Metadata)>;

            fn recv_token(&self) -> Result<(Token, Self::Metadata)>;

            fn send(&self, packet: &[u8]) -> Result<()>;

            fn flush(&self);

            fn create(portspec: &str, queue: Option<usize>, flags: Self::Flags) -> Result<Self>;

            fn context(&self) -> &Self::Context;
        }
    }

    impl<S: api::Socket> documented::Socket for S {
        type Context = S::Context;
        type Metadata = S::Metadata;
        type Flags = S::Flags;

        fn recv(&self) -> Result<(Payload<'_, Self::Context>, Self::Metadata)> {
            api::Socket::recv(self)
        }
        fn recv_token(&self) -> Result<(Token, Self::Metadata)> {
            api::Socket::recv_token(self)
        }
        fn send(&self, packet: &[u8]) -> Result<()> {
            api::Socket::send(self, packet)
        }
        fn flush(&self) {
            api::Socket::flush(self);
        }
        fn create(portspec: &str, queue: Option<usize>, flags: Self::Flags) -> Result<Self> {
            api::Socket::create(portspec, queue, flags)
        }
        fn context(&self) -> &Self::Context {
            api::Socket::context(self)
        }
    }

    /// `Payload` wants the real trait: hence the supertrait. `release` is unsafe: see `docs/compatibility.md`.
    pub trait DocumentedContext: api::Context + Sized + Clone + Send + 'static {
        fn pool_id(&self) -> u32;

        /// # Safety
        ///
        /// Caller must ensure exclusive access to the buffer region.
        unsafe fn unsafe_buffer(&self, buf_idx: BufferDesc, size: usize) -> *mut [u8];

        /// # Safety
        ///
        /// The buffer is the caller's, and no longer.
        unsafe fn release(&self, buf_idx: BufferDesc);

        fn packet<'ctx>(&'ctx self, token: Token) -> Payload<'ctx, Self>;
    }

    impl<C: api::Context> DocumentedContext for C {
        fn pool_id(&self) -> u32 {
            api::Context::pool_id(self)
        }
        unsafe fn unsafe_buffer(&self, buf_idx: BufferDesc, size: usize) -> *mut [u8] {
            // SAFETY: the caller's promise.
            unsafe { api::Context::unsafe_buffer(self, buf_idx, size) }
        }
        unsafe fn release(&self, buf_idx: BufferDesc) {
            // SAFETY: the caller's promise.
            unsafe { api::Context::release(self, buf_idx) }
        }
        fn packet<'ctx>(&'ctx self, token: Token) -> Payload<'ctx, Self> {
            api::Context::packet(self, token)
        }
    }

    pub trait DocumentedFlags: Clone + Debug {}
    impl<F: api::Flags> DocumentedFlags for F {}

    pub trait DocumentedMetadata: Send {
        fn into_enum(self) -> MetadataType;
    }
    impl<M: api::Metadata> DocumentedMetadata for M {
        fn into_enum(self) -> MetadataType {
            api::Metadata::into_enum(self)
        }
    }

    /// Used through the documented traits alone.
    fn round_trip<S: documented::Socket>(portspec: &str, flags: S::Flags) -> Result<()>
    where
        S::Flags: DocumentedFlags,
    {
        let flags = flags.clone();
        assert!(!format!("{flags:?}").is_empty());
        let a = S::create(portspec, None, flags.clone())?;
        let b = S::create(portspec, Some(0), flags)?;
        a.send(b"over the documented traits")?;
        a.flush();
        let (token, meta) = b.recv_token()?;
        assert!(matches!(DocumentedMetadata::into_enum(meta), MetadataType::Mem(_)));
        let context = b.context();
        assert_eq!(DocumentedContext::pool_id(context), token.pool_id());
        let packet = DocumentedContext::packet(context, token);
        assert_eq!(&*packet, b"over the documented traits");

        a.send(b"again")?;
        a.flush();
        let (packet, _meta) = b.recv()?;
        let desc = packet.into_token().into_desc();
        // SAFETY: the frame came out of its token just now, so it is ours until it is released; it holds five bytes.
        unsafe {
            assert_eq!(&*DocumentedContext::unsafe_buffer(context, desc, 5), b"again");
            DocumentedContext::release(context, desc);
        }
        Ok(())
    }

    #[test]
    fn are_what_every_socket_implements() {
        round_trip::<nethuns_rs::mem::Sock>("mem:seed-traits", Default::default()).unwrap();
        round_trip::<nethuns_rs::any::Sock>("mem:seed-traits-any", Default::default()).unwrap();
    }
}

/// "Context and Memory Management".
mod memory {
    use nethuns_rs::Result;
    use nethuns_rs::api::{BufferDesc, BufferRef, Context, Payload, Socket, Token};
    use nethuns_rs::mem::{MemFlags, Sock};
    use std::fmt::Debug;
    use std::ops::DerefMut;

    #[test]
    fn payload_token_and_descriptors_have_the_documented_functions() {
        fn payload<'ctx, Ctx: Context>(payload: Payload<'ctx, Ctx>) -> impl DerefMut<Target = [u8]> + 'ctx {
            payload
        }
        fn token<'ctx, Ctx: Context>(token: Token, ctx: &'ctx Ctx) -> Payload<'ctx, Ctx> {
            let _: BufferDesc = token.buffer_desc();
            let _: u32 = token.size();
            let _: u32 = token.pool_id();
            let _: bool = token.check_token::<Ctx>(ctx);
            token.consume(ctx)
        }
        fn plain<T: Clone + Copy + Debug>() {}
        plain::<BufferDesc>();
        plain::<BufferRef>();
        let socket = Sock::create("mem:seed-memory", None, MemFlags::default()).unwrap();
        let t = socket.alloc(3).unwrap().into_token();
        assert_eq!(payload(token(t, socket.context())).len(), 3);
    }

    fn socket_with_packets(name: &str) -> Result<(Sock, Sock)> {
        let other = Sock::create(name, None, MemFlags::default())?;
        let socket = Sock::create(name, None, MemFlags::default())?;
        for i in 0..3 {
            other.send(&[i; 60])?;
        }
        other.flush();
        Ok((other, socket))
    }

    #[test]
    fn payload_usage() -> Result<()> {
        let (_other, socket) = socket_with_packets("mem:seed-payload")?;
        let (packet, _meta) = socket.recv()?;

        // Access packet data via Deref
        println!("First byte: {}", packet[0]);

        // Packet is automatically released when `packet` goes out of scope
        drop(packet);
        assert_eq!(socket.frames_in_flight(), Some(0));
        Ok(())
    }

    #[test]
    fn token_usage() -> Result<()> {
        let (_other, socket) = socket_with_packets("mem:seed-token")?;
        // Receive as token (doesn't borrow socket)
        let (token, _meta) = socket.recv_token()?;

        // Later, consume the token
        let ctx = socket.context();
        let packet = token.consume(ctx);
        assert_eq!(packet.len(), 60);
        Ok(())
    }

    /// "Zero-Copy Operations".
    #[test]
    fn zero_copy_operations() -> Result<()> {
        let (_other, socket) = socket_with_packets("mem:seed-zero-copy")?;
        let ctx = socket.context();
        let mut stored_tokens = Vec::new();
        let mut seen = Vec::new();
        let mut process = |packet: &[u8]| seen.push(packet[0]);

        for _ in 0..3 {
            // Receive as token (no borrow of socket)
            let (token, meta) = socket.recv_token()?;

            // Store token for later processing
            stored_tokens.push(token);
            let _ = meta;
        }

        // Later, consume all tokens
        for token in stored_tokens {
            let packet = token.consume(ctx);
            process(&packet);
        }
        assert_eq!(seen, [0, 1, 2]);
        Ok(())
    }
}

/// "Channel API".
mod channel {
    use nethuns_rs::Result;
    use nethuns_rs::api::{Batch, Context};
    use nethuns_rs::mem::{MemFlags, Sock};
    use std::sync::atomic::{AtomicUsize, Ordering};

    static PROCESSED: AtomicUsize = AtomicUsize::new(0);

    fn collect_batch<const N: usize>(socket: &Sock) -> Batch<N> {
        let mut batch = Batch::new();
        socket.recv_tokens(&mut batch).unwrap();
        batch
    }

    fn process(packet: &[u8]) {
        assert_eq!(packet.len(), 60);
        PROCESSED.fetch_add(1, Ordering::Relaxed);
    }

    use nethuns_rs::api::{NethunsPopper, NethunsPusher, Socket};

    const BATCH_SIZE: usize = 32;

    #[test]
    fn producer_and_consumer() -> Result<()> {
        let flags = MemFlags::default();
        let other = Sock::create("mem:seed-channel", None, flags.clone())?;
        // Create socket with a channel
        let (socket, pusher, popper) = Sock::create_with_channel::<BATCH_SIZE>(
            "mem:seed-channel", // "eth0" in the document
            None,
            flags,
            flume::bounded(1024),
        )?;
        for i in 0..20 {
            other.send(&[i; 60])?;
        }

        // Producer thread: receive packets and push to channel
        let producer = std::thread::spawn(move || {
            let batch = collect_batch(&socket);
            pusher.push(batch).unwrap();
        });

        // Consumer thread: pop from channel and process
        let consumer = std::thread::spawn(move || {
            while let Some(batch) = popper.pop() {
                for packet in batch {
                    process(&packet);
                }
            }
        });
        producer.join().unwrap();
        consumer.join().unwrap();
        assert_eq!(PROCESSED.load(Ordering::Relaxed), 20);
        assert_eq!(other.frames_in_flight(), Some(0));
        Ok(())
    }

    /// Both ends can be named, moved and cloned: several consumers.
    #[test]
    fn its_ends_have_names() {
        fn moves<T: Send + Clone + 'static>() {}
        fn ends<C: Context>() {
            moves::<NethunsPusher<BATCH_SIZE>>();
            moves::<NethunsPopper<C, BATCH_SIZE>>();
        }
        ends::<nethuns_rs::pool::PoolContext>();
    }
}

/// "Error Handling" and "Metadata Types".
mod errors_and_metadata {
    use nethuns_rs::api::MetadataType;
    use nethuns_rs::errors::Error;
    use std::io;

    #[test]
    fn errors_say_what_the_document_says() {
        for (error, text) in [
            (Error::NoPacket, "Can't receive packet"),
            (Error::NoMemory, "Can't allocate memory"),
            (Error::TooBigPacket(9000), "Too big packet: 9000"),
            (Error::Generic(io::Error::other("it broke")), "it broke"),
            (Error::from(io::Error::other("it broke")), "it broke"),
            (Error::Unknown, "unknown error"),
        ] {
            assert_eq!(error.to_string(), text);
        }
        fn is_error<E: std::error::Error + std::fmt::Debug + Send + Sync>() {}
        is_error::<Error>();
        // pub type Result<T> = std::result::Result<T, crate::errors::Error>;
        let _: nethuns_rs::errors::Result<u8> = std::result::Result::<u8, Error>::Ok(1);
    }

    #[cfg(feature = "pcap")]
    #[test]
    fn pcap_errors_are_taken_in_and_shown() {
        let error: Error = pcap::Error::InvalidString.into();
        assert!(matches!(error, Error::Pcap(pcap::Error::InvalidString)));
        assert_eq!(error.to_string(), pcap::Error::InvalidString.to_string());
    }

    /// The enum can be taken apart by the documented variants.
    #[test]
    fn metadata_has_the_documented_variants() {
        fn name(meta: &MetadataType) -> &'static str {
            match meta {
                #[cfg(all(target_os = "linux", feature = "af_xdp"))]
                MetadataType::AfXdp(meta) => {
                    let _: &nethuns_rs::af_xdp::Meta = meta;
                    "AF_XDP"
                }
                #[cfg(feature = "pcap")]
                MetadataType::Pcap(meta) => {
                    let nethuns_rs::pcap::Meta { timestamp, len, caplen, .. } = *meta;
                    let _: (libc::timeval, u32, u32) = (timestamp, len, caplen);
                    "pcap"
                }
                _ => "another",
            }
        }
        assert_eq!(name(&MetadataType::Mem(Default::default())), "another");
    }
}

/// "Configuration Flags": the fields, their types and their defaults.
mod flags {
    #[cfg(feature = "pcap")]
    #[test]
    fn pcap_flags() {
        use nethuns_rs::pcap::PcapFlags;
        let PcapFlags { snaplen, promiscuous, timeout_ms, immediate, filter, buffer_size, buffer_count } =
            PcapFlags::default();
        let all: (i32, bool, i32, bool, Option<String>, usize, usize) =
            (snaplen, promiscuous, timeout_ms, immediate, filter, buffer_size, buffer_count);
        assert_eq!(all, (65535, true, 1, true, None, 2048, 32));
        let copy = PcapFlags::default().clone();
        assert!(format!("{copy:?}").starts_with("PcapFlags"));
    }

    #[cfg(all(target_os = "linux", feature = "af_xdp"))]
    #[test]
    fn af_xdp_flags() {
        use nethuns_rs::af_xdp::AfXdpFlags;
        let AfXdpFlags { bind_flags, xdp_flags, num_frames, frame_size, tx_size, rx_size } = AfXdpFlags::default();
        let all: (u16, u32, u32, u32, u32, u32) = (bind_flags, xdp_flags, num_frames, frame_size, tx_size, rx_size);
        assert_eq!(all, (0, 0, 4096, 4096, 2048, 2048));
        let copy = AfXdpFlags::default().clone();
        assert!(format!("{copy:?}").starts_with("AfXdpFlags"));
    }

    #[cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]
    #[test]
    fn netmap_flags() {
        use nethuns_rs::netmap::NetmapFlags;
        let NetmapFlags { extra_buf } = NetmapFlags::default();
        let all: u32 = extra_buf;
        assert_eq!(all, 1024);
        let copy = NetmapFlags::default().clone();
        assert!(format!("{copy:?}").starts_with("NetmapFlags"));
    }
}

/// "Socket Types": the blocks run as they stand, on an interface that is called eth0.
#[cfg(all(target_os = "linux", any(feature = "pcap", feature = "af_xdp", feature = "netmap")))]
mod socket_types {
    use crate::common::netns::Lab;
    use nethuns_rs::Result;

    fn lab(test: &str) -> Option<Lab> {
        let lab = Lab::enter(test)?;
        lab.veth("eth0", "eth1", 1);
        Some(lab)
    }

    #[cfg(feature = "pcap")]
    #[test]
    fn pcap_sock() -> Result<()> {
        let Some(_lab) = lab("seeds::pcap_sock") else { return Ok(()) };
        use nethuns_rs::api::Socket;
        use nethuns_rs::pcap::{PcapFlags, Sock};

        #[rustfmt::skip]
        let flags = PcapFlags {
            snaplen: 65535,          // Maximum capture length
            promiscuous: true,       // Capture all packets
            timeout_ms: 1,           // Read timeout
            immediate: true,         // Deliver packets immediately
            filter: None,            // Optional BPF filter
            buffer_size: 2048,       // Buffer size per packet
            buffer_count: 32,        // Number of buffers
        };

        let socket = Sock::create("eth0", None, flags)?;

        let peer = Sock::create("eth1", None, PcapFlags::default())?;
        exchange(&socket, &peer);
        Ok(())
    }

    #[cfg(feature = "af_xdp")]
    #[test]
    fn af_xdp_sock() -> Result<()> {
        let Some(_lab) = lab("seeds::af_xdp_sock") else { return Ok(()) };
        use nethuns_rs::api::Socket;

        #[cfg(all(target_os = "linux", feature = "af_xdp"))]
        use nethuns_rs::af_xdp::{AfXdpFlags, Sock};

        #[rustfmt::skip]
        let flags = AfXdpFlags {
            bind_flags: 0,           // XDP_ZEROCOPY, XDP_COPY, etc.
            xdp_flags: 0,            // XDP_FLAGS_* values
            num_frames: 4096,        // UMEM frame count
            frame_size: 4096,        // UMEM frame size
            tx_size: 2048,           // TX ring size
            rx_size: 2048,           // RX ring size
        };

        let socket = Sock::create("eth0", Some(0), flags)?;

        let peer = Sock::create("eth1", None, AfXdpFlags::default())?;
        exchange(&socket, &peer);
        Ok(())
    }

    /// Needs a kernel module to run as it stands: without, it must say so. Then it runs on the emulation's cards.
    #[cfg(feature = "netmap")]
    #[test]
    fn netmap_sock() -> Result<()> {
        use nethuns_rs::Error;
        fn block() -> Result<nethuns_rs::netmap::Sock> {
            use nethuns_rs::api::Socket;

            #[cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]
            use nethuns_rs::netmap::{NetmapFlags, Sock};

            #[rustfmt::skip]
            let flags = NetmapFlags {
                extra_buf: 1024,         // Extra buffer count
            };

            let socket = Sock::create("netmap:eth0", Some(0), flags)?;

            Ok(socket)
        }
        use nethuns_rs::api::Socket;
        use nethuns_rs::netmap::{self, NetmapFlags, Sock};
        let Some(_lab) = lab("seeds::netmap_sock") else { return Ok(()) };
        match block() {
            Ok(socket) => {
                let peer = Sock::create("netmap:eth1", None, NetmapFlags::default())?;
                exchange(&socket, &peer);
            }
            Err(Error::Netmap(error)) => assert_eq!(error, netmap::Error::NoDevice),
            Err(error) => return Err(error),
        }
        let socket = Sock::create("netmap:emu0?emulated", Some(0), NetmapFlags { extra_buf: 1024 })?;
        let peer = Sock::create("netmap:emu1?emulated", None, NetmapFlags::default())?;
        exchange(&socket, &peer);
        Ok(())
    }

    /// The usage blocks on real interfaces: both directions.
    fn exchange<S: nethuns_rs::api::Socket>(socket: &S, peer: &S) {
        use nethuns_rs::api::Interest;
        let patience = Some(std::time::Duration::from_secs(10));
        for (from, to) in [(socket, peer), (peer, socket)] {
            let mut frame = [0x5a; 60];
            frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5]);
            from.send(&frame).unwrap();
            from.flush();
            assert!(to.wait(Interest::Readable, patience).unwrap());
            let (packet, _meta) = to.recv().unwrap();
            assert_eq!(&*packet, &frame);
        }
    }
}

/// "Module Structure".
#[test]
fn modules_are_where_the_document_has_them() {
    #[allow(unused_imports, reason = "that they resolve is the test")]
    {
        #[cfg(all(target_os = "linux", feature = "af_xdp"))]
        use nethuns_rs::af_xdp::{AfXdpFlags, Meta as AfXdpMeta, Sock as AfXdpSock};
        use nethuns_rs::api::{
            BufferDesc, BufferRef, Context, Flags, Metadata, MetadataType, NethunsPopper, NethunsPusher, Payload,
            Socket, Token,
        };
        use nethuns_rs::errors::{Error, Result};
        #[cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]
        use nethuns_rs::netmap::{Meta as NetmapMeta, NetmapFlags, Sock as NetmapSock};
        #[cfg(feature = "pcap")]
        use nethuns_rs::pcap::{Meta as PcapMeta, PcapFlags, Sock as PcapSock};
    }
}
