//! A cable between two nodes that can be pulled: bytes go in at both ends, and come out at
//! neither.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Even: plugged in. What was connected before it was pulled stays dead.
type Plug = Arc<AtomicU64>;

pub struct Cable {
    pub at: SocketAddr,
    plug: Plug,
}

impl Cable {
    /// To `far`.
    pub fn to(far: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let at = listener.local_addr().expect("its address");
        let plug = Plug::default();
        let plugs = plug.clone();
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(far) else {
                    continue;
                };
                let plugged = plugs.load(Ordering::SeqCst);
                let back = (far.try_clone(), near.try_clone());
                carry(near, far, plugs.clone(), plugged);
                if let (Ok(far), Ok(near)) = back {
                    carry(far, near, plugs.clone(), plugged);
                }
            }
        });
        Self { at, plug }
    }

    pub fn pull(&self) {
        self.plug.fetch_add(1, Ordering::SeqCst);
    }

    pub fn plug_in(&self) {
        self.plug.fetch_add(1, Ordering::SeqCst);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, plug: Plug, plugged: u64) {
    std::thread::spawn(move || {
        let works = || plugged.is_multiple_of(2) && plug.load(Ordering::SeqCst) == plugged;
        let mut bytes = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut bytes) {
            if works() && to.write_all(&bytes[..length]).is_err() {
                break;
            }
        }
        if works() {
            let _ = to.shutdown(Shutdown::Write);
        } else {
            // Its other end learns nothing, for as long as the test lasts.
            std::mem::forget((from, to));
        }
    });
}
