//! What can be asked of a port, and where it may come from: flags, then options of the port spec.

use super::ffi::Direction;
use crate::api::{Flags, Options, PortSpec};
use crate::capture::Format;
use crate::errors::{Error, Result};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;

/// libpcap's own limit, `MAXIMUM_SNAPLEN`.
const MAX_LEN: i32 = 262_144;

/// Configuration of a port. Options of the port spec override it.
#[derive(Clone, Debug)]
pub struct PcapFlags {
    /// Maximum number of bytes to capture per packet, 1 to 262144.
    pub snaplen: i32,
    /// Put the interface into promiscuous mode while the socket lives.
    pub promiscuous: bool,
    /// How long the kernel may gather packets before it hands them over, in milliseconds. Without meaning in immediate
    /// mode. Receiving never blocks.
    pub timeout_ms: i32,
    /// Deliver each packet at once instead of in blocks.
    pub immediate: bool,
    /// Filter expression, see pcap-filter(7). The kernel applies it where it can.
    pub filter: Option<String>,
    /// Bytes that each frame of the pool holds: longer packets are delivered cut, and counted.
    pub buffer_size: usize,
    /// Number of frames in the pool.
    pub buffer_count: usize,
}

impl Default for PcapFlags {
    fn default() -> Self {
        Self {
            snaplen: 65535,
            promiscuous: true,
            timeout_ms: 1,
            immediate: true,
            filter: None,
            buffer_size: 2048,
            buffer_count: 32,
        }
    }
}

impl Flags for PcapFlags {}

/// What a port spec means.
pub(super) enum Port {
    Live(LiveOptions),
    Read,
    Write(WriteOptions),
}

pub(super) struct LiveOptions {
    pub kernel_buffer: Option<i32>,
    /// `None`: incoming, where the platform can tell.
    pub direction: Option<Direction>,
    /// Nanoseconds, where they can be had. Off by default: libpcap asks for them by SO_TIMESTAMPNS, upon which Linux
    /// stamps every packet of every interface as it arrives, at 40 ns each as measured, for as long as the socket lives.
    pub nanos: bool,
}

pub(super) struct WriteOptions {
    pub format: Format,
    pub append: bool,
    /// Nanoseconds in a `pcap` file; `pcapng` has them anyway.
    pub nanos: bool,
}

/// Reads flags and options: they end up in `flags`, what only one kind of port has in the [`Port`].
pub(super) fn settle(spec: &PortSpec, flags: &mut PcapFlags) -> Result<Port> {
    let mut options = spec.options();
    let write = options.switch("write")?.unwrap_or(false);
    let append = options.switch("append")?.unwrap_or(false);
    let file = options.switch("file")?;
    if write && append {
        return Err(Error::PortSpec {
            spec: spec.text().to_owned(),
            problem: "`write` begins the file anew, `append` goes on at its end: choose one".to_owned(),
        });
    }
    let file = match file {
        Some(false) if write || append => {
            return Err(Error::PortSpec {
                spec: spec.text().to_owned(),
                problem: "`file=off` makes it an interface, which is not written like a file".to_owned(),
            });
        }
        Some(file) => file,
        None => write || append || names_a_file(&spec.name),
    };
    let port = match (file, write || append) {
        (false, _) => Port::Live(live(&mut options, flags)?),
        (true, false) => {
            flags.filter = options.text("filter")?.map(str::to_owned).or(flags.filter.take());
            Port::Read
        }
        (true, true) => {
            if let Some(filter) = &flags.filter {
                return Err(Error::BadOption {
                    option: "filter",
                    value: filter.clone(),
                    expected: "none: a file that is written takes every packet it is given".to_owned(),
                });
            }
            Port::Write(written(spec, &mut options, append)?)
        }
    };
    take(&mut flags.snaplen, options.number("snaplen", 1..=MAX_LEN)?);
    take(&mut flags.buffer_size, options.number("buffer_size", FRAME_SIZES)?);
    take(&mut flags.buffer_count, options.number("buffers", FRAMES)?);
    options.finish()?;
    within("snaplen", flags.snaplen, 1..=MAX_LEN)?;
    within("timeout_ms", flags.timeout_ms, 0..=i32::MAX)?;
    within("buffer_size", flags.buffer_size, FRAME_SIZES)?;
    within("buffer_count", flags.buffer_count, FRAMES)?;
    Ok(port)
}

const FRAME_SIZES: RangeInclusive<usize> = 14..=MAX_LEN as usize;
const FRAMES: RangeInclusive<usize> = 1..=1 << 24;

fn live(options: &mut Options<'_>, flags: &mut PcapFlags) -> Result<LiveOptions> {
    take(&mut flags.promiscuous, options.switch("promisc")?);
    take(&mut flags.immediate, options.switch("immediate")?);
    if let Some(timeout) = options.duration("timeout")? {
        // Up, so that a timeout never becomes none at all.
        flags.timeout_ms = i32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX);
    }
    flags.filter = options.text("filter")?.map(str::to_owned).or(flags.filter.take());
    Ok(LiveOptions {
        nanos: options.switch("nano")?.unwrap_or(false),
        kernel_buffer: options.number("kernel_buffer", 65_536..=1 << 30)?,
        direction: options
            .one_of("direction", &[("in", Direction::In), ("out", Direction::Out), ("both", Direction::Both)])?,
    })
}

fn written(spec: &PortSpec, options: &mut Options<'_>, append: bool) -> Result<WriteOptions> {
    let format = options.one_of("format", &[("pcap", Format::Pcap), ("pcapng", Format::PcapNg)])?;
    let format = format.unwrap_or(match Path::new(&spec.name).extension() {
        Some(extension) if extension.eq_ignore_ascii_case("pcapng") => Format::PcapNg,
        _ => Format::Pcap,
    });
    let nanos = options.switch("nano")?;
    if nanos == Some(false) && format == Format::PcapNg {
        return Err(Error::BadOption {
            option: "nano",
            value: "off".to_owned(),
            expected: "on: a pcapng file says its own resolution, and is always written with nanoseconds".to_owned(),
        });
    }
    Ok(WriteOptions { format, append, nanos: nanos.unwrap_or(true) })
}

/// A path, a name that only a capture file would have, or a file that exists where no interface has that name.
fn names_a_file(name: &str) -> bool {
    let path = Path::new(name);
    let capture = |e: &std::ffi::OsStr| ["pcap", "pcapng", "cap"].iter().any(|c| e.eq_ignore_ascii_case(c));
    // Interfaces on Windows are called \Device\NPF_{…}.
    let is_path = path.components().count() > 1 && !name.starts_with(r"\Device\");
    is_path
        || path.extension().is_some_and(capture)
        || (path.is_file() && !super::explain::interfaces().iter().any(|i| i == name))
}

fn take<T>(flag: &mut T, option: Option<T>) {
    if let Some(value) = option {
        *flag = value;
    }
}

fn within<T: PartialOrd + Display>(option: &'static str, value: T, range: RangeInclusive<T>) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(Error::BadOption {
        option,
        value: value.to_string(),
        expected: format!("a number from {} to {}", range.start(), range.end()),
    })
}

#[cfg(test)]
mod tests;
