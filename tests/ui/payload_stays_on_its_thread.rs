//! A payload borrows a context, which is one thread's: it travels as a token.
use nethuns_rs::api::{Context, Payload};

fn hand_over<C: Context>(packet: Payload<'_, C>) {
    std::thread::scope(|scope| {
        scope.spawn(move || drop(packet));
    });
}

fn main() {}
