//! The whole bench in virtual time: what the ways come to where no machine is in between.

use chorus_protocol::units::Micros;

use super::seat::{Config, Output, Seat, Way};
use super::table::{Cell, Condition};
use super::{BATCHES, configs};
use crate::cli::bench::TokensArgs;

const ARGS: TokensArgs = TokensArgs {
    nodes: 16,
    seconds: 0,
    cut_seconds: 0,
    loss: None,
    rtt: None,
    token_ms: 290,
    seed: 4,
};

/// In the order of the table.
fn ways() -> impl Iterator<Item = Way> {
    BATCHES.iter().flat_map(|it| it.iter().copied())
}

struct World {
    seats: Vec<Seat>,
    now: Micros,
}

impl World {
    fn new(configs: Vec<Config>) -> Self {
        let now = Micros::ZERO;
        let seats = configs.into_iter().map(|it| Seat::new(it, now).unwrap());
        Self {
            seats: seats.collect(),
            now,
        }
    }

    fn run_until(&mut self, end: Micros) {
        loop {
            let due = self.seats.iter().map(Seat::next_deadline).min().unwrap();
            if due > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(due);
            for at in 0..self.seats.len() {
                for output in self.seats[at].tick(self.now) {
                    self.deliver(at, output);
                }
            }
        }
    }

    fn deliver(&mut self, from: usize, output: Output) {
        match output {
            Output::To(to, frame) => self.seats[to].take(frame, self.now),
            Output::All(frame) => {
                let others = self.seats.iter_mut().enumerate();
                for (_, seat) in others.filter(|(at, _)| *at != from) {
                    seat.take(frame.clone(), self.now);
                }
            }
        }
    }

    fn each(&mut self, order: fn(&mut Seat, Micros)) {
        let now = self.now;
        self.seats.iter_mut().for_each(|seat| order(seat, now));
    }

    fn end(mut self, way: Way, condition: Condition) -> Cell {
        self.each(Seat::rest);
        self.run_until(self.now + Micros::from_secs(2));
        let reports: Vec<_> = self.seats.iter().map(Seat::report).collect();
        Cell::of(way, condition, &reports)
    }
}

/// All ways for so long.
fn cells(condition: Condition, seconds: u64) -> Vec<Cell> {
    let cell = |way| {
        let mut world = World::new(configs(&ARGS, way, condition));
        world.run_until(Micros::from_secs(seconds));
        world.end(way, condition)
    };
    ways().map(cell).collect()
}

fn ratios(condition: Condition) -> [f64; 4] {
    let cells = cells(condition, 60);
    for cell in &cells {
        assert_eq!((cell.missing, cell.split_brains), (0, 0), "{cell:?}");
        println!("{condition}: {cell:?}");
    }
    let (free, held): (Vec<&Cell>, Vec<&Cell>) =
        cells.iter().partition(|it| it.way == Way::Asynchronous);
    let free = free[0].tokens_per_s;
    let each = f64::from(ARGS.nodes) * 1e3 / f64::from(ARGS.token_ms);
    assert!((free / each - 1.0).abs() < 0.03, "{free} of {each}");
    std::array::from_fn(|at| free / held[at].tokens_per_s)
}

#[test]
fn a_barrier_costs_what_the_slowest_of_all_takes_even_where_nothing_is_lost() {
    let [one, others @ ..] = ratios(Condition::new(0, 0));
    assert!((1.3..1.6).contains(&one), "{one}");
    // More barriers cost only what the network takes, which is nothing here.
    assert!(
        others.iter().all(|it| (it - one).abs() < 0.05),
        "{one} {others:?}"
    );
}

#[test]
fn loss_and_round_trips_make_four_barriers_cost_four_times_as_much() {
    let [one, answered, heard, newest] = ratios(Condition::new(1, 50));
    assert!((4.0..5.0).contains(&answered), "{answered}");
    assert!(one < newest, "{one} {newest}");
    assert!(
        newest < heard && heard < answered,
        "{newest} {heard} {answered}"
    );
}

#[test]
fn a_cut_stops_barriers_and_no_free_token_and_both_merge_without_loss() {
    let condition = Condition::new(1, 50);
    let cut_for = Micros::from_secs(30);
    for way in ways() {
        let mut world = World::new(configs(&ARGS, way, condition));
        world.run_until(Micros::from_secs(5));
        world.each(Seat::cut);
        world.run_until(Micros::from_secs(5) + cut_for);
        world.each(Seat::heal);
        world.run_until(Micros::from_secs(10) + cut_for);
        let cell = world.end(way, condition);
        let cut = cell.cut.unwrap();
        println!("{way:?}: {cut:?}");
        assert_eq!((cell.missing, cell.split_brains), (0, 0), "{way:?}");
        assert!(cut.merged_ms.is_some_and(|it| it < 4_000.0), "{cut:?}");
        if way == Way::Asynchronous {
            assert_eq!((cut.lasted_s, cut.flowed_s), (30.0, 30.0));
            // Each node as many as ever.
            assert!((1_550..1_800).contains(&cut.tokens), "{cut:?}");
        } else {
            assert!(cut.flowed_s < 3.0 && cut.tokens <= 2 * 16, "{cut:?}");
        }
    }
}

#[test]
fn one_condition_can_be_asked_for() {
    let shown = |loss, rtt| {
        let args = TokensArgs { loss, rtt, ..ARGS };
        let all = super::conditions(&args);
        let pairs = all.iter().map(|it| (it.loss_percent, it.rtt_ms));
        pairs.collect::<Vec<_>>()
    };
    assert_eq!(shown(None, None), [(0, 0), (1, 0), (0, 50), (1, 50)]);
    assert_eq!(shown(Some(3), None), [(3, 0), (3, 50)]);
    assert_eq!(shown(Some(3), Some(20)), [(3, 20)]);
}
