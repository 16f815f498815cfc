//! A socket moves between threads; it is not shared by them.
use nethuns_rs::api::Socket;

fn share<S: Socket>(socket: &S) {
    std::thread::scope(|scope| {
        scope.spawn(|| socket.flush());
        socket.flush();
    });
}

fn main() {}
