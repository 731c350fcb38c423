//! Puts and gets, one after the other: through Chorus, and through bare Kademlia with as many
//! nodes, the same k and the same flush. The two take turns, so that both meet the same disk
//! and neighbours, and the other's nodes are idle meanwhile.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::{Duration, Instant};

use chorus_actors::memory::{MemoryHandle, PutOptions};
use chorus_protocol::memory::key::Key;
use chorus_protocol::memory::replication::Want;

use crate::bare;
use crate::mesh::Mesh;
use crate::seats::Post;

const TIMES: usize = 400;
/// Not measured: connections, caches.
const WARM: usize = 40;
/// The same many at once.
const ROUNDS: usize = 15;
const AT_ONCE: usize = 32;
const VALUE_BYTES: usize = 200;
const WITHIN: Duration = Duration::from_secs(10);

/// The last of `posts` puts and gets; all of them must have each put on disk.
pub async fn run(dir: &Path, what: &str, posts: &[Post]) {
    let many = posts.len();
    let mut mesh = Mesh::new(dir, posts);
    (0..many).for_each(|at| mesh.start(at));
    let bare = bare::mesh(dir, many);
    let others = NonZeroUsize::new(many - 1).expect("more than one");
    let memory = mesh.memory(many - 1).clone();
    let key = |n: usize| Key::shared(&format!("k{n}")).expect("a key");
    let value = |n: usize| vec![n as u8; VALUE_BYTES];

    let options = PutOptions {
        want: Some(Want::Nodes(many)),
        within: WITHIN,
        expires_s: None,
    };
    // Until everybody has met.
    let first = Key::shared("first").expect("a key");
    let mut tries = 0..6;
    while !put(&memory, &first, b"x", options).await {
        let mut met = Vec::new();
        for at in 0..many {
            met.push(mesh.view(at).await.neighbours);
        }
        assert!(
            tries.next().is_some(),
            "they do not meet: {met:?} neighbours"
        );
    }

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for n in 0..WARM + TIMES {
        for who in [n % 2, (n + 1) % 2] {
            let begun = Instant::now();
            if who == 0 {
                let is_enough = put(&memory, &key(n), &value(n), options).await;
                ours.push(begun.elapsed());
                assert!(is_enough, "copies of {n}");
            } else {
                let key = key(n).id().0.to_vec();
                let reached = bare[many - 1].put(key, value(n), others).await;
                theirs.push(begun.elapsed());
                assert!(reached.expect("an answer") >= others.get(), "copies of {n}");
            }
        }
    }
    say(&format!("put, durable on all of {what}"), &ours, &theirs);

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for n in 0..WARM + TIMES {
        for who in [n % 2, (n + 1) % 2] {
            let begun = Instant::now();
            if who == 0 {
                let got = memory.get(key(n), Some(WITHIN)).await.expect("got");
                ours.push(begun.elapsed());
                assert_eq!(got.replicas, many, "copies of {n}");
            } else {
                let found = bare[many - 1].get(key(n).id().0.to_vec()).await;
                theirs.push(begun.elapsed());
                assert!(n < WARM || found == many, "{found} of {n}");
            }
        }
    }
    say(&format!("get, from all of {what}"), &ours, &theirs);

    let mut spent = [Duration::ZERO; 2];
    for round in 0..ROUNDS {
        let first = WARM + TIMES + round * AT_ONCE;
        for who in [round % 2, (round + 1) % 2] {
            let begun = Instant::now();
            let mut under_way = Vec::new();
            for n in first..first + AT_ONCE {
                let (memory, key, value) = (memory.clone(), key(n), value(n));
                let theirs = (who == 1)
                    .then(|| bare[many - 1].put(key.id().0.to_vec(), value.clone(), others));
                under_way.push(tokio::spawn(async move {
                    match theirs {
                        None => put(&memory, &key, &value, options).await,
                        Some(reached) => reached.await.expect("an answer") >= others.get(),
                    }
                }));
            }
            for (n, put) in under_way.into_iter().enumerate() {
                assert!(put.await.expect("its end"), "copies of {n} in {round}");
            }
            spent[who] += begun.elapsed();
        }
    }
    let rate = |who: usize| (ROUNDS * AT_ONCE) as f64 / spent[who].as_secs_f64();
    println!(
        "memory: {AT_ONCE} puts at once, durable on all of {what}: {:.0} a second, bare Kademlia \
         {:.0}: {:.2} x",
        rate(0),
        rate(1),
        rate(1) / rate(0)
    );
    mesh.stop_all();
    bare.into_iter().for_each(bare::Node::stop);
}

async fn put(memory: &MemoryHandle, key: &Key, value: &[u8], options: PutOptions) -> bool {
    let put = memory.put(key.clone(), Some(value.to_vec()), options);
    put.await.expect("durable here").is_enough()
}

fn say(what: &str, ours: &[Duration], theirs: &[Duration]) {
    let each = [ours, theirs].map(|all| {
        let mut all = all[WARM..].to_vec();
        all.sort_unstable();
        let at = |part: usize| all[part * (all.len() - 1) / 100].as_secs_f64() * 1e3;
        let mean = all.iter().sum::<Duration>().as_secs_f64() * 1e3 / all.len() as f64;
        [at(50), mean, at(95)]
    });
    let [[median, mean, high], [bare_median, bare_mean, bare_high]] = each;
    println!(
        "memory: {what}: median {median:.2} ms, bare Kademlia {bare_median:.2}: {:.2} x; mean \
         {mean:.2} and {bare_mean:.2}: {:.2} x; 95 of 100 within {high:.2} and {bare_high:.2}: \
         {:.2} x; goal 1.5",
        median / bare_median,
        mean / bare_mean,
        high / bare_high
    );
}
