//! The socket behind the door: where it stands, who may reach it, what is left of it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use chorus_actors::transport::counters::read;
use chorus_actors::transport::sockets::{Command, SocketsConfig};

use crate::nodes::*;

fn node_in(folder: &Path) -> Node {
    node(SocketsConfig {
        private: Some(folder.to_owned()),
        ..config(&keys(), &[])
    })
}

async fn answers_a_guest(host: &mut Node) {
    let guest = Client::new(zmq::DEALER, Some(host), &host.bound.door);
    guest.socket.send("good day", 0).unwrap();
    let asked = until(&mut host.up.door, || {}, |_| true).await;
    assert_eq!(asked.bytes, b"good day");
}

fn stop(host: Node) {
    host.send(Command::Shutdown);
    host.thread.join().unwrap();
}

#[tokio::test]
async fn it_stands_in_the_private_folder_in_place_of_a_dead_one_and_goes_with_its_process() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("run");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    let file = folder.join("door.sock");
    // As a killed process leaves it.
    drop(std::os::unix::net::UnixListener::bind(&file).unwrap());
    let mut host = node_in(&folder);
    assert!(file.exists());
    let mode = std::fs::metadata(&folder).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    answers_a_guest(&mut host).await;
    stop(host);
    assert!(!file.exists());
}

#[tokio::test]
async fn what_is_removed_while_it_runs_comes_back_for_the_next_guest() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("run");
    let file = folder.join("door.sock");
    let mut host = node_in(&folder);
    std::fs::remove_file(&file).unwrap();
    answers_a_guest(&mut host).await;
    // Something in its place that nobody listens at.
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, "").unwrap();
    answers_a_guest(&mut host).await;
    std::fs::remove_dir_all(&folder).unwrap();
    answers_a_guest(&mut host).await;
    let mode = std::fs::metadata(&folder).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let found_none = read(&host.counters.no_door);
    assert!(found_none >= 3, "{found_none}");
    answers_a_guest(&mut host).await;
    assert_eq!(read(&host.counters.no_door), found_none);
    stop(host);
    assert!(!file.exists());
}

#[tokio::test]
async fn a_door_whose_home_is_gone_makes_no_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let mut host = node_in(&home.join("run"));
    std::fs::remove_dir_all(&home).unwrap();
    let guest = Client::new(zmq::DEALER, Some(&host), &host.bound.door);
    guest.socket.send("good day", 0).unwrap();
    holds("it was tried for", || read(&host.counters.no_door) >= 5).await;
    assert!(!home.exists());
    // A file system that comes back needs no restart.
    std::fs::create_dir(&home).unwrap();
    let asked = until(&mut host.up.door, || {}, |_| true).await;
    assert_eq!(asked.bytes, b"good day");
    stop(host);
}

#[tokio::test]
async fn who_comes_past_the_porter_is_judged_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = node_in(dir.path());
    let inner = format!("ipc://{}/door.sock", dir.path().display());
    let null = Client::new(zmq::DEALER, None, &inner);
    null.socket.send("let me in", zmq::DONTWAIT).unwrap();
    null.sees_that_it_does_not_fit().await;
    let judged = read(&host.counters.zap_admitted);
    let curve = Client::new(zmq::DEALER, Some(&host), &inner);
    curve.socket.send("good day", 0).unwrap();
    let asked = until(&mut host.up.door, || {}, |_| true).await;
    assert_eq!(asked.bytes, b"good day");
    assert_eq!(read(&host.counters.zap_admitted), judged + 1);
    assert_eq!(read(&host.counters.fail_open), 0);
}

#[tokio::test]
async fn where_the_folder_will_not_do_the_door_opens_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let a_file = dir.path().join("file");
    std::fs::write(&a_file, "").unwrap();
    let long: PathBuf = dir.path().join("y".repeat(100));
    for folder in [&a_file, &long] {
        let mut host = node_in(folder);
        answers_a_guest(&mut host).await;
        stop(host);
    }
    assert!(!long.exists());
}
