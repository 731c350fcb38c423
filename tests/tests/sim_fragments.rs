//! Checkpoints that are too large for everybody, in a world of faults: whole at the parents, a
//! fragment of its own on every agent's disk, any few of which give the same vector back; whole
//! everywhere now and then.

use chorus_protocol::ids::{Digest, NodeId};
use chorus_protocol::memory::checkpoint::{
    Config, Event, Fragment, Name, Order, Part, Refusal, Seal, chunks, coding, copy,
};
use chorus_protocol::units::Micros;
use chorus_tests::epochs::{Epochs, expect};
use chorus_tests::world::fabric::{Shape, key};
use chorus_tests::world::watch;

/// The orchestrator 0; sectors of a coordinator and two leads with five agents each: the
/// coordinators 1, 14 and 27, the leads 2, 8, 15, 21, 28 and 34.
const SHAPE: Shape = Shape::Tree {
    clusters: 2,
    size: 6,
};
const N: usize = 40;
const NEEDED: usize = 6;

fn config() -> Config {
    Config {
        whole_up_to: 20,
        whole_every: 5,
        needed: NEEDED,
        ..Config::every(Micros::from_secs(10))
    }
}

fn world(seed: u64) -> Epochs {
    Epochs::new(N, SHAPE, config(), seed)
}

fn agents(world: &Epochs) -> Vec<usize> {
    (0..N).filter(|at| world.is_agent(*at)).collect()
}

/// Waits until the last durable one is of everybody, and in pieces.
fn in_pieces(world: &mut Epochs, limit_s: u64) -> Result<(), String> {
    world.reach("durable one in pieces", limit_s, Epochs::agree_in_pieces)
}

fn epoch(world: &Epochs, at: usize) -> u64 {
    world.held(at).map_or(0, |it| it.header().epoch)
}

fn is_refused(world: &Epochs, by: usize, liar: usize, why: Refusal) -> bool {
    let refused = Event::Refused(world.node(liar), why);
    world.log.contains(&(by, refused))
}

#[test]
fn any_few_agents_give_back_what_all_parents_had() {
    watch::seeds("fragments", watch::many(6), |seed| {
        let mut world = world(seed);
        world.loss = [0.0, 0.2, 0.5][seed as usize % 3];
        // Beyond the first that went whole to everybody.
        world.until(Micros::from_secs(240), |w| epoch(w, 0) > 5);
        in_pieces(&mut world, 120)?;
        let before = world.durable(0).ok_or("nothing durable")?;
        let name = Name::of(before.header());
        let agents = agents(&world);
        let survivors: Vec<usize> = (0..NEEDED)
            .map(|i| agents[(seed as usize * 7 + i * 5) % agents.len()])
            .collect();
        for at in (0..N).filter(|at| !survivors.contains(at)) {
            world.crash(at);
            world.machines[at].disk.clear();
        }
        world.pass(Micros::from_secs(60));
        // After a restart too.
        world.crash(survivors[0]);
        world.start(survivors[0]);
        let fragments = survivors.iter().map(|at| world.fragment(*at, &name));
        let fragments: Option<Vec<Fragment>> = fragments.collect();
        let fragments = fragments.ok_or("a fragment is lost")?;
        let mesh = &world.fabric.mesh;
        let rebuilt = copy::rebuild(&fragments, mesh).map_err(|why| why.to_string())?;
        expect(rebuilt.part().bytes() == before.bytes(), "it is another")?;
        let few = copy::rebuild(&fragments[1..], mesh).err();
        let too_few = Refusal::TooFew {
            have: NEEDED - 1,
            needed: NEEDED,
        };
        expect(few == Some(too_few), "one fewer was enough")?;
        // Each alone has the last that went whole to everybody.
        for at in survivors {
            let whole = world.durable(at).ok_or("no whole one")?;
            let (epoch, view) = (whole.header().epoch, world.view(at));
            expect(epoch.is_multiple_of(5), "a whole one of an odd epoch")?;
            expect(view.durable_whole == Some(epoch), "another is shown")?;
            expect(view.durable == Some(name.epoch), "another is shown")?;
        }
        world.sound()
    });
}

#[test]
fn restarts_and_wiped_disks_cost_an_epoch_at_worst() {
    watch::seeds("fragment-restarts", watch::many(4), |seed| {
        let mut world = world(seed);
        world.loss = 0.1;
        in_pieces(&mut world, 90)?;
        world.restarts(seed, 7);
        let before = world.view(0).durable;
        in_pieces(&mut world, 180)?;
        expect(world.view(0).durable >= before, "the count went back")?;
        world.sound()
    });
}

#[test]
fn who_comes_late_or_moves_is_given_the_whole() {
    let mut world = Epochs::dark(N, SHAPE, config(), 3);
    let late = N - 1;
    (0..N)
        .filter(|at| *at != late)
        .for_each(|at| world.start(at));
    let has = |w: &Epochs| w.held(20).is_some();
    assert!(world.until(Micros::from_secs(60), has));
    world.start(late);
    world.pass(Micros::from_secs(2));
    let given = world.durable(late).expect("the last durable one");
    assert_eq!(given.header(), world.held(20).unwrap().header());
    assert!(given.member(&world.node(late)).is_none());
    // An agent whose lead dies while its fragment is being made finds another parent, which
    // has no fragment for it.
    in_pieces(&mut world, 90).unwrap();
    let made = |w: &Epochs| {
        let made = w.log.iter();
        made.filter(|it| matches!(it.1, Event::Made(..))).count()
    };
    let count = made(&world);
    assert!(world.until(Micros::from_secs(60), |w| made(w) > count));
    world.pass(Micros::from_millis(100));
    world.crash(2);
    let newest = world.view(0).last.unwrap().0;
    let moved = |w: &Epochs| w.view(3).last.is_some_and(|it| it.0 >= newest);
    assert!(world.until(Micros::from_secs(20), moved));
    world.start(2);
    in_pieces(&mut world, 120).unwrap();
    world.sound().unwrap();
}

#[test]
fn a_side_that_is_cut_off_makes_branches_as_large_as_it_is() {
    let mut world = world(5);
    world.until(Micros::from_secs(120), |w| epoch(w, 0) > 5);
    in_pieces(&mut world, 60).unwrap();
    // Two sectors of 26 and the root stay; the third makes small branches, more than are kept.
    world.cut_off(27..N);
    world.pass(Micros::from_secs(120));
    let (_, members, _) = world.view(27).last.unwrap();
    assert_eq!(members, N - 27);
    let branch = world.machines[30].disk.keys().next_back().unwrap().0;
    assert!(world.fragment(30, &branch).is_none(), "a small one was cut");
    assert!(
        world.durable(30).is_some(),
        "the last whole one was given up"
    );
    world.cut_off([]);
    in_pieces(&mut world, 120).unwrap();
    world.sound().unwrap();
}

/// What machine 2, a lead, makes of the fragments that it hands down.
fn with_fragments(order: &mut Order, bend: impl Fn(Fragment) -> Option<Vec<u8>>) {
    let Order::Copy(chunk) = order else { return };
    let mesh = chorus_tests::world::fabric::Fabric::of(N, SHAPE).mesh;
    let Ok(fragment) = Fragment::open(&chunk.bytes, &mesh) else {
        return;
    };
    if let Some(bytes) = bend(fragment) {
        *chunk = chunks::cut(chunk.epoch, &bytes).remove(0);
    }
}

#[test]
fn a_lying_parents_fragment_is_refused_and_counts_for_nobody() {
    type Lie = fn(&Epochs, NodeId, &mut Order);
    let cases: [(Lie, Refusal); 2] = [
        // A byte of the piece.
        (
            |_, _, order| {
                with_fragments(order, |fragment| {
                    let mut bytes = fragment.bytes().to_vec();
                    *bytes.last_mut()? ^= 1;
                    Some(bytes)
                });
            },
            Refusal::Altered,
        ),
        // A seal of its own.
        (
            |_, _, order| {
                with_fragments(order, |fragment| {
                    let piece = fragment.piece().to_vec();
                    let numbers = [0].into();
                    let coded = coding::encode(&piece, &fragment.seal.plan, &numbers).ok();
                    let seal = Seal {
                        fragments: coded.map_or(Digest([0; 32]), |it| it.root),
                        ..fragment.seal
                    };
                    let mesh = chorus_tests::world::fabric::Fabric::of(N, SHAPE).mesh;
                    let signed = fragment.bytes()[1..254].try_into().ok()?;
                    let sealed = seal.seal(&signed, &key(2), &mesh);
                    Some(Fragment::make(&signed, &sealed, 0, &[], &piece).to_vec())
                });
            },
            Refusal::Forged,
        ),
    ];
    for (lie, why) in cases {
        let mut world = world(7);
        in_pieces(&mut world, 60).unwrap();
        let before = epoch(&world, 0);
        world.machines[2].lie = Some(lie);
        world.pass(Micros::from_secs(45));
        assert!(is_refused(&world, 3, 2, why), "{why}: {:?}", world.log);
        // Its agents have none, so no epoch that they should hold in pieces became durable.
        let agent = world.node(3);
        let silent = |it: &(usize, Event)| matches!(&it.1, Event::Partial(_, missing) if missing.contains(&agent));
        assert!(world.log.iter().any(silent), "{:?}", world.log);
        let newer = |name: &Name| name.epoch > before && world.fragment(3, name).is_some();
        assert!(!world.machines[3].disk.keys().any(|(name, _)| newer(name)));
        world.machines[2].lie = None;
        in_pieces(&mut world, 150).unwrap();
        world.sound().unwrap();
    }
}

#[test]
fn a_parent_is_not_fobbed_off_with_a_fragment() {
    let mut world = world(9);
    in_pieces(&mut world, 60).unwrap();
    // The coordinator gives its leads what is a fragment of the epoch.
    world.machines[1].lie = Some(|world, to, order| {
        let Order::Copy(chunk) = order else { return };
        let Ok(part) = Part::open(&chunk.bytes[..chunk.bytes.len() - 112], &world.fabric.mesh)
        else {
            return;
        };
        let whole = copy::Whole::open(&chunk.bytes, &world.fabric.mesh).expect("sealed");
        let seal = whole.seal().expect("sealed");
        let numbers = copy::numbers(&part, &[to].into());
        let coded = coding::encode(
            part.bytes(),
            &seal.plan,
            &numbers.values().copied().collect(),
        );
        let made = whole.fragments(&coded.expect("a sound plan"), &numbers);
        let fragment = made.and_then(|mut it| it.pop_first()).map(|it| it.1);
        if let Some(bytes) = fragment {
            *chunk = chunks::cut(chunk.epoch, &bytes).remove(0);
        }
    });
    world.pass(Micros::from_secs(30));
    let why = Refusal::Malformed("place: a parent holds the whole");
    assert!(is_refused(&world, 2, 1, why), "{:?}", world.log);
    world.machines[1].lie = None;
    in_pieces(&mut world, 150).unwrap();
    world.sound().unwrap();
}

#[test]
fn an_agent_that_becomes_a_parent_does_not_pass_its_own_fragment_on() {
    let mut world = world(11);
    world.until(Micros::from_secs(120), |w| epoch(w, 0) > 5);
    in_pieces(&mut world, 60).unwrap();
    let next = epoch(&world, 0) + 1;
    assert!(world.until(Micros::from_secs(60), |w| epoch(w, 3) >= next));
    // The lead 2 has what the agent 3 had, which comes back with nothing.
    world.crash(2);
    world.crash(3);
    world.machines[2].disk = std::mem::take(&mut world.machines[3].disk);
    world.start(2);
    world.start(3);
    world.pass(Micros::from_secs(2));
    let held = world.held(3);
    assert!(
        held.is_none_or(|it| it.whole().is_some()),
        "another's fragment"
    );
    in_pieces(&mut world, 150).unwrap();
    world.sound().unwrap();
}
