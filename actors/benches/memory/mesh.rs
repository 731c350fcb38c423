//! Nodes of Chorus for the bench: each as a process has it, with a runtime on a thread of its own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use chorus_actors::memory::{MemoryHandle, MemoryView};
use chorus_actors::transport::sockets::Ports;
use chorus_protocol::wire::Identity;
use tokio::sync::oneshot;

use crate::seats::{self, Post, Seat, seats, settle, start_with, tell_ports};

/// A node that runs.
pub struct Running {
    pub memory: MemoryHandle,
    ports: Ports,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Running {
    fn start(dir: PathBuf, seat: Seat, root: &Identity, ports: Ports) -> Self {
        let root = root.id();
        let (tell, told) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            crate::runtime().block_on(async {
                let node = start_with(&dir, &seat, &root, |plan| plan.ports = ports).await;
                tell.send((node.memory(), seats::ports(&node)))
                    .expect("awaited");
                tokio::select! {
                    why = node.failed() => panic!("the node failed: {why:?}"),
                    _ = stopped => {}
                }
                node.stop().await;
            });
        });
        let (memory, ports) = told.recv().expect("a node that starts");
        Self {
            memory,
            ports,
            stop,
            thread,
        }
    }

    pub fn stop(self) {
        self.stop.send(()).expect("it runs");
        self.thread.join().expect("the node's thread");
    }
}

/// Homes of a mesh, in which nodes are started and stopped.
pub struct Mesh {
    root: Identity,
    dir: PathBuf,
    posts: Vec<Post>,
    seats: Vec<Seat>,
    ports: Vec<Ports>,
    pub nodes: Vec<Option<Running>>,
}

impl Mesh {
    /// Homes that know all members, and their parents' addresses. Nobody runs yet.
    pub fn new(dir: &Path, posts: &[Post]) -> Self {
        Self {
            root: Identity::from_seed(&[200; 32]),
            dir: dir.to_owned(),
            posts: posts.to_vec(),
            seats: seats(posts),
            ports: posts.iter().map(|_| free_ports()).collect(),
            nodes: posts.iter().map(|_| None).collect(),
        }
        .settled()
    }

    fn settled(self) -> Self {
        for at in 0..self.posts.len() {
            settle(&self.home(at), &self.root, &self.seats);
            for above in 0..at {
                let (ports, seat) = (&self.ports[above], &self.seats[above]);
                tell_ports(&self.home(at), ports, seat, &self.root);
            }
        }
        self
    }

    pub fn home(&self, at: usize) -> PathBuf {
        self.dir.join(format!("node{at}"))
    }

    pub fn start(&mut self, at: usize) {
        let seat = &self.seats[at];
        let seat = Seat {
            seed: seat.seed,
            curve: seat.curve.clone(),
            entry: seat.entry.clone(),
        };
        let running = Running::start(self.home(at), seat, &self.root, self.ports[at]);
        assert_eq!(running.ports, self.ports[at], "where it was told to");
        self.nodes[at] = Some(running);
    }

    pub fn stop(&mut self, at: usize) {
        if let Some(node) = self.nodes[at].take() {
            node.stop();
        }
    }

    pub fn stop_all(&mut self) {
        (0..self.nodes.len()).for_each(|at| self.stop(at));
    }

    pub fn memory(&self, at: usize) -> &MemoryHandle {
        &self.nodes[at].as_ref().expect("it runs").memory
    }

    pub async fn view(&self, at: usize) -> MemoryView {
        self.memory(at).view().await.expect("it runs")
    }
}

/// Ports that nothing listens on, so that a node is where it was when it starts again.
fn free_ports() -> Ports {
    let free: Vec<TcpListener> = (0..5)
        .map(|_| TcpListener::bind("127.0.0.1:0").expect("a port"))
        .collect();
    let port = |n: usize| free[n].local_addr().expect("bound").port();
    Ports {
        router: port(0),
        publisher: port(1),
        subscriber: port(2),
        door: port(3),
        memory: port(4),
    }
}
