//! Exact counts of user-space instructions, by callgrind.
//!
//! Only what runs inside the contender's functions of the names [`COUNTED`] is counted. First-time binding and warm-up,
//! the same in every run, drop out by taking the difference of two runs.

use crate::{Contender, output};
use std::path::Path;

/// The functions in which a contender does what is to be counted, in C and in Rust. The patterns end where the names do:
/// a closure inside such a function is another function, and entering it must not switch the counting off.
pub const COUNTED: [&str; 7] =
    ["rx_burst", "*::rx_burst", "tx_burst", "*::tx_burst", "fwd_burst", "*::fwd_burst", "*::serve_burst"];

/// Instructions per packet of a contender, counted over `packets` packets.
///
/// # Errors
///
/// If valgrind is missing, fails or counts nothing.
pub fn per_packet(contender: &Contender, packets: u64) -> Result<f64, String> {
    let few = count(contender, packets)?;
    let many = count(contender, 3 * packets)?;
    if few.instructions == 0 || many.packets <= few.packets {
        return Err(format!("callgrind counted nothing inside {}", COUNTED.join(", ")));
    }
    Ok((many.instructions - few.instructions) as f64 / (many.packets - few.packets) as f64)
}

struct Count {
    instructions: u64,
    packets: u64,
}

fn count(contender: &Contender, packets: u64) -> Result<Count, String> {
    let file = std::env::temp_dir().join(format!("callgrind.{}.{packets}", std::process::id()));
    let mut command: Vec<String> = ["valgrind", "--tool=callgrind", "--collect-atstart=no"].map(str::to_owned).into();
    command.extend(COUNTED.map(|name| format!("--toggle-collect={name}")));
    command.push(format!("--callgrind-out-file={}", file.display()));
    command.extend(contender.command.iter().cloned());
    command.extend(["--packets".to_owned(), packets.to_string()]);
    let text = output(&command)?;
    let moved = crate::Sample::parse(&text).ok_or("a contender under valgrind printed no figures")?;
    let instructions = read(&file);
    let _ = std::fs::remove_file(&file);
    Ok(Count { instructions: instructions?, packets: moved.packets as u64 })
}

fn read(file: &Path) -> Result<u64, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals:").or_else(|| line.strip_prefix("summary:")));
    total.and_then(|n| n.split_whitespace().next()?.parse().ok()).ok_or_else(|| "callgrind wrote no total".to_owned())
}
