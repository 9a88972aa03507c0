//! A camera that sends pictures over HTTP (`multipart/x-mixed-replace`), when it is told to.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

const HEAD: &str = "HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=\"cut\"\r\n\r\n";

/// A camera at an address of this machine. Its thread ends with it.
pub(crate) struct NetworkCamera {
    pub(crate) url: String,
    orders: Sender<Order>,
}

enum Order {
    Send(Vec<u8>),
    HangUp,
}

impl NetworkCamera {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/stream", listener.local_addr().unwrap());
        let (orders, ordered) = channel();
        thread::spawn(move || while serve(listener.accept().unwrap().0, &ordered) {});
        Self { url, orders }
    }

    /// Sends a frame to whoever is connected, or connects next.
    pub(crate) fn send(&self, frame: &[u8]) {
        self.orders.send(Order::Send(frame.to_vec())).unwrap();
    }

    /// Closes the connection behind the frames before.
    pub(crate) fn hang_up(&self) {
        self.orders.send(Order::HangUp).unwrap();
    }
}

/// Follows the orders over one connection; whether there may be more.
fn serve(mut socket: TcpStream, ordered: &Receiver<Order>) -> bool {
    let (mut request, mut byte) = (Vec::new(), [0]);
    while !request.ends_with(b"\r\n\r\n") && socket.read(&mut byte).is_ok_and(|read| read == 1) {
        request.push(byte[0]);
    }
    // Whoever was connected may be gone.
    let _ = socket.write_all(HEAD.as_bytes());
    loop {
        match ordered.recv() {
            Ok(Order::Send(frame)) => {
                let head = format!("--cut\r\nContent-Length: {}\r\n\r\n", frame.len());
                let _ = socket.write_all(&[head.as_bytes(), &frame, b"\r\n"].concat());
            }
            Ok(Order::HangUp) => return true,
            Err(_) => return false,
        }
    }
}
