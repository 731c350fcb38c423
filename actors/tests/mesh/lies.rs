//! What a member gives that is not as it should be: each has its counter, none is believed,
//! and what is good is not lost beside it.

use std::time::Duration;

use chorus_actors::memory::{MemoryHandle, PutOptions};
use chorus_protocol::memory::key::Key;
use chorus_protocol::memory::parcel::{Answer, Question};
use chorus_protocol::memory::record::Record;
use chorus_protocol::memory::replication::Want;
use chorus_protocol::memory::siblings::SIBLINGS_MAX;
use chorus_protocol::wire::codec;
use serde_bytes::ByteBuf;

use super::member::{Body, Liar, content};
use super::*;

/// The last two are seats of liars, one that carries from realm to realm and one that does not.
const TREE: [Post; 4] = [
    (Role::Orchestrator, "hq", "hq"),
    (Role::Coordinator, "s1", "c0"),
    (Role::Agent, "s2", "c1"),
    (Role::Coordinator, "s3", "c0"),
];

/// Two honest nodes that are connected, and the seats of the liars.
pub struct Scene {
    pub nodes: Vec<Node>,
    pub seats: Vec<Seat>,
    pub root: NodeId,
    _dirs: Vec<tempfile::TempDir>,
}

impl Scene {
    pub async fn new(change: fn(&mut Plan)) -> Self {
        let root = Identity::from_seed(&[211; 32]);
        let seats = seats(&TREE);
        let dirs: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
        for dir in &dirs {
            settle(dir.path(), &root, &seats);
        }
        let top = start_with(dirs[0].path(), &seats[0], &root.id(), change).await;
        tell_address(dirs[1].path(), &top, &seats[0], &root);
        let other = start(dirs[1].path(), &seats[1], &root.id()).await;
        until(&top, "connected", |s| s.memory.neighbours == 1).await;
        Self {
            nodes: vec![top, other],
            seats,
            root: root.id(),
            _dirs: dirs,
        }
    }

    /// Who is lied to.
    pub fn victim(&self) -> &Node {
        &self.nodes[0]
    }

    pub async fn liar(&self, seat: usize) -> Liar {
        Liar::start(&self.seats[seat], &self.root, self.victim(), content).await
    }

    pub async fn count(&self, name: &str) -> u64 {
        counter(&self.victim().snapshot().await.unwrap(), name)
    }

    pub async fn stop(self) {
        for node in self.nodes {
            node.stop().await;
        }
    }
}

pub fn counter(snapshot: &Snapshot, name: &str) -> u64 {
    let all = snapshot.counters.iter().filter(|it| it.0 == name);
    all.map(|it| it.1).sum()
}

pub fn options(want: Option<Want>) -> PutOptions {
    PutOptions {
        want,
        within: Duration::from_secs(10),
        expires_s: None,
    }
}

pub async fn put(node: &Node, key: &str, value: &[u8]) {
    let key = Key::new(key).unwrap();
    let memory = node.memory();
    let put = memory.put(key, Some(value.into()), options(None));
    let put = tokio::time::timeout(Duration::from_secs(20), put).await;
    put.expect("a put that never ends").unwrap();
}

/// The records under a key, as they stand at a node.
pub async fn standing(memory: &MemoryHandle, key: &str) -> Vec<Record> {
    let key = Key::new(key).unwrap();
    let got = memory.get(key, None).await.unwrap();
    got.siblings.iter().cloned().collect()
}

pub async fn values(node: &Node, key: &str) -> Vec<Vec<u8>> {
    let all = standing(&node.memory(), key).await;
    all.iter()
        .filter_map(|it| it.write().value.clone())
        .collect()
}

/// Waits until a key has this value alone at a node.
pub async fn has(node: &Node, key: &str, value: &[u8]) {
    let began = Instant::now();
    while values(node, key).await != [value] {
        let found = values(node, key).await;
        assert!(
            began.elapsed() < Duration::from_secs(40),
            "{key}: {found:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Records that no node may take, with the counter of each.
fn bad_records(liar: &Liar, victim: &NodeId) -> Vec<(&'static str, Vec<u8>)> {
    let (own, mesh) = (&liar.identity, &liar.mesh);
    let seal = |body: Body| body.seal(own, mesh);
    let mut forged = seal(Body::of("shared/plan", 9_000, b"forged"));
    forged[..32].copy_from_slice(&victim.0);
    let mut bent = seal(Body::of("shared/plan", 9_000, b"bent"));
    *bent.last_mut().unwrap() ^= 1;
    let stranger = Identity::from_seed(&[99; 32]);
    let saw = |lamport| Body {
        seen: vec![(*victim, Incarnation(1), lamport)],
        ..Body::of("shared/plan", 9_000, b"saw")
    };
    let crowd = (0..65).map(|n| (*victim, Incarnation(n), 1)).collect();
    let crowd = Body {
        seen: crowd,
        ..Body::of("shared/plan", 9_000, b"crowd")
    };
    let foreign = format!("own/{victim}/plan");
    let large = vec![b'1'; 12 * 1024 + 1];
    vec![
        ("records_forged", forged),
        (
            "records_stranger",
            Body::of("shared/plan", 9_000, b"x").seal(&stranger, mesh),
        ),
        ("records_foreign", seal(Body::of(&foreign, 9_000, b"x"))),
        (
            "records_oversized",
            seal(Body::of("shared/plan", 9_000, &large)),
        ),
        ("records_oversized", vec![7; 20 * 1024]),
        ("records_oversized", seal(crowd)),
        ("records_paradox", seal(saw(9_000))),
        ("records_paradox", seal(saw(u64::MAX))),
        (
            "records_malformed",
            seal(Body::of("nowhere/plan", 9_000, b"x")),
        ),
        (
            "records_malformed",
            seal(Body::of("shared/a\nb", 9_000, b"x")),
        ),
        ("records_malformed", seal(Body::of("shared/", 9_000, b"x"))),
        ("records_malformed", vec![0xc1; 200]),
        ("records_malformed", Vec::new()),
        // Its body is still MessagePack: what the signature is of is another.
        ("records_malformed", bent),
    ]
}

#[tokio::test]
async fn each_kind_of_bad_record_has_its_counter_and_good_ones_beside_it_are_kept() {
    let scene = Scene::new(|_| {}).await;
    let victim = scene.victim();
    put(victim, "shared/plan", b"good").await;
    let before = standing(&victim.memory(), "shared/plan").await;
    let mut liar = scene.liar(2).await;
    let bad = bad_records(&liar, &victim.id());
    for (n, (name, record)) in bad.iter().enumerate() {
        let (key, was) = (format!("shared/beside-{n}"), scene.count(name).await);
        let good = liar.record(&key, 1, b"good").bytes().to_vec();
        let new = liar.push(victim, vec![record.clone(), good]).await;
        assert_eq!(new, 1, "{n}: {name}: the good one");
        assert_eq!(scene.count(name).await, was + 1, "{n}: {name}");
        // And as a fresh write.
        let set = codec::encode(&vec![ByteBuf::from(record.clone())]);
        liar.put(victim, [n as u8; 32], set);
        let counted = |s: &Snapshot| counter(s, name) == was + 2;
        until(victim, name, counted).await;
    }
    let was = scene.count("records_malformed").await;
    liar.put(victim, [0; 32], b"garbage".to_vec());
    until(victim, "garbage", |s| {
        counter(s, "records_malformed") == was + 1
    })
    .await;
    assert_eq!(standing(&victim.memory(), "shared/plan").await, before);
    for n in 0..bad.len() {
        has(&scene.nodes[1], &format!("shared/beside-{n}"), b"good").await;
    }
    put(&scene.nodes[1], "shared/plan", b"better").await;
    has(victim, "shared/plan", b"better").await;
    scene.stop().await;
}

#[tokio::test]
async fn what_is_too_much_too_late_or_too_old_is_not_taken_for_good() {
    let scene = Scene::new(|_| {}).await;
    let victim = scene.victim();
    let mut liar = scene.liar(2).await;
    // One sibling more than there is room for.
    let one = |n: u64| liar.record("shared/crowd", n, b"x").bytes().to_vec();
    let all: Vec<_> = (1..=SIBLINGS_MAX as u64 + 1).map(one).collect();
    assert_eq!(liar.push(victim, all.clone()).await, SIBLINGS_MAX as u32);
    assert_eq!(scene.count("siblings_refused").await, 1);
    assert_eq!(
        standing(&victim.memory(), "shared/crowd").await.len(),
        SIBLINGS_MAX
    );
    put(victim, "shared/crowd", b"resolved").await;
    has(&scene.nodes[1], "shared/crowd", b"resolved").await;

    // Older than what stands, by its author and by another.
    put(victim, "shared/plan", b"1").await;
    let first = standing(&victim.memory(), "shared/plan").await[0]
        .bytes()
        .to_vec();
    put(victim, "shared/plan", b"2").await;
    let was = scene.count("records_known").await;
    assert_eq!(
        liar.push(victim, vec![first.clone(), all[0].clone()]).await,
        0
    );
    let set = codec::encode(&vec![ByteBuf::from(first)]);
    liar.put(victim, [1; 32], set);
    until(victim, "counted", |s| {
        counter(s, "records_known") >= was + 3
    })
    .await;
    assert_eq!(values(victim, "shared/plan").await, [b"2"]);
    assert_eq!(values(victim, "shared/crowd").await, [b"resolved"]);

    // Its time is over before it came.
    let expired = Body {
        exp: Some(1),
        ..Body::of("shared/old", 5, b"old")
    };
    let expired = expired.seal(&liar.identity, &liar.mesh);
    liar.push(victim, vec![expired]).await;
    let old = standing(&victim.memory(), "shared/old").await;
    assert!(old.iter().all(|it| !it.is_value(2)), "{old:?}");
    put(victim, "shared/old", b"new").await;
    has(&scene.nodes[1], "shared/old", b"new").await;
    scene.stop().await;
}

#[tokio::test]
async fn questions_that_are_none_are_counted_and_the_next_one_is_answered() {
    let scene = Scene::new(|_| {}).await;
    let victim = scene.victim();
    put(victim, "shared/plan", b"good").await;
    let mut liar = scene.liar(2).await;
    for n in 0..20u8 {
        let garbage = vec![n.wrapping_mul(37) | 0xc1; 40 * usize::from(n)];
        let answer = liar.ask_bytes(victim, garbage).await.unwrap();
        assert_eq!(codec::decode(&answer), Ok(Answer::Busy));
    }
    assert_eq!(scene.count("memory_questions_malformed").await, 20);
    assert!(liar.ask_bytes(victim, vec![7; 2 << 20]).await.is_err());
    assert_eq!(scene.count("asks_broken").await, 1);
    // Lists that are none, and longer than any.
    let odd = [
        Question::Leaves(vec![(7, ByteBuf::from(vec![1; 100_000]))]),
        Question::Leaves(vec![(7, ByteBuf::new()); 10_000]),
        Question::Strays(vec![(7, ByteBuf::from(vec![1; 3])); 10_000]),
        Question::Fetch(ByteBuf::from(vec![9; 1_000_001])),
        Question::Push(vec![ByteBuf::new(); 500_000]),
    ];
    for question in &odd {
        assert!(liar.ask(victim, question).await.is_some());
    }
    let plan = Key::new("shared/plan").unwrap().id().position();
    let fetch = Question::Fetch(ByteBuf::from(plan.0.to_vec()));
    let Some(Answer::Records(records)) = liar.ask(victim, &fetch).await else {
        panic!("no records");
    };
    assert_eq!(records.len(), 1);
    put(&scene.nodes[1], "shared/plan", b"better").await;
    has(victim, "shared/plan", b"better").await;
    scene.stop().await;
}

#[tokio::test]
async fn answers_that_do_not_fit_change_nothing() {
    let scene = Scene::new(|_| {}).await;
    let victim = scene.victim();
    put(victim, "shared/plan", b"good").await;
    let lies: [super::member::Answers; 6] = [
        |_| b"garbage".to_vec(),
        |_| vec![0x93; 1 << 19],
        |_| codec::encode(&Answer::Branches(ByteBuf::from(vec![3; 256 * 8]))),
        |_| codec::encode(&Answer::Branches(ByteBuf::from(vec![3; 77]))),
        |_| codec::encode(&Answer::Heads(vec![(7, ByteBuf::from(vec![5; 480]))])),
        |_| codec::encode(&Answer::Records(vec![ByteBuf::from(vec![5; 480])])),
    ];
    for lie in lies {
        let seat = &scene.seats[2];
        let mut liar = Liar::start(seat, &scene.root, victim, lie).await;
        // It compares with whoever connects.
        assert!(matches!(liar.asked.recv().await, Some(Question::Sum(_))));
        let key = format!("shared/{}", scene.count("connections_opened").await);
        put(&scene.nodes[1], &key, b"on").await;
        has(victim, &key, b"on").await;
    }
    assert!(scene.count("memory_answers_malformed").await >= 2);
    assert_eq!(values(victim, "shared/plan").await, [b"good"]);
    scene.stop().await;
}

#[tokio::test]
async fn who_says_that_others_have_a_write_is_believed_for_itself_alone() {
    let scene = Scene::new(|_| {}).await;
    let victim = scene.victim();
    let mut liar = scene.liar(2).await;
    let memory = victim.memory();
    let want = PutOptions {
        within: Duration::from_secs(4),
        ..options(Some(Want::Nodes(4)))
    };
    let key = Key::new("shared/plan").unwrap();
    let counted = tokio::spawn(async move { memory.put(key, Some(b"1".into()), want).await });
    let value = liar.puts.recv().await.unwrap();
    let records: Vec<ByteBuf> = codec::decode(&value).unwrap();
    let dot = *Record::read(&records[0]).unwrap().dot();
    let nodes = scene.seats.iter().map(|it| it.entry.node).collect();
    let stored = Question::Stored {
        dots: vec![dot],
        nodes,
    };
    assert!(liar.ask(victim, &stored).await.is_some());
    let put = counted.await.unwrap().unwrap();
    assert_eq!(
        put.replicas, 3,
        "two honest nodes, and the liar of itself: {put:?}"
    );
    scene.stop().await;
}

#[tokio::test]
async fn a_lamport_time_at_the_end_of_time_makes_no_key_unwritable() {
    let scene = Scene::new(|_| {}).await;
    let victim = scene.victim();
    put(victim, "shared/plan", b"good").await;
    let mut liar = scene.liar(2).await;
    let before = victim.snapshot().await.unwrap().lamport;
    for (n, lamport) in [1 << 40, 1 << 63, u64::MAX - 1, u64::MAX]
        .into_iter()
        .enumerate()
    {
        let body = Body::of("shared/plan", lamport, b"last word");
        let record = body.seal(&liar.identity, &liar.mesh);
        liar.push(victim, vec![record]).await;
        let value = n.to_string().into_bytes();
        put(victim, "shared/plan", &value).await;
        for node in &scene.nodes {
            has(node, "shared/plan", &value).await;
        }
    }
    let after = victim.snapshot().await.unwrap().lamport;
    assert!(
        after - before < 1 << 36,
        "the clock was pushed by {}",
        after - before
    );
    put(&scene.nodes[1], "shared/plan", b"on").await;
    has(victim, "shared/plan", b"on").await;
    scene.stop().await;
}
