//! The bytes of a packet cannot be read while they are written, nor written twice.
use nethuns_rs::api::{Context, Payload};

fn two_writers<C: Context>(mut packet: Payload<'_, C>) {
    let (one, two) = (&mut packet[..4], &mut packet[4..]);
    one.copy_from_slice(two);
}

fn reader_and_writer<C: Context>(mut packet: Payload<'_, C>) {
    let head = &packet[..4];
    packet.fill(0);
    println!("{head:?}");
}

fn kept_past_its_end<C: Context>(packet: Payload<'_, C>) {
    let head = &packet[..4];
    drop(packet);
    println!("{head:?}");
}

fn main() {}
