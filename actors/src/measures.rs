//! Measures: what operations came to, kept over restarts. Rows lie in the store in as many places as
//! there are hours and days to keep, so nothing has to be taken away; a kill loses the last minute.

use chorus_protocol::op::kpi::{Counts, DAYS_MAX, HOURS_MAX, Kpis, Span};
use chorus_protocol::units::Micros;
use chorus_protocol::wire::codec;
use chorus_storage::store::{Batch, Tree};
use chorus_storage::{Reader, clock};

/// In [`Tree::Meta`]: when something was first counted, in Unix time.
const BEGAN: &[u8] = b"kpi/began";
/// Rows that may have changed since they were last kept: this one and the one before it.
const CHANGED: usize = 2;

/// What was kept before this run.
#[derive(Debug)]
pub struct Measures {
    /// When something was first counted, in Unix time.
    began_s: u64,
    /// How long ago that was when this was read.
    pub age: Micros,
    /// What was counted.
    pub rows: Vec<(Span, Counts)>,
}

impl Measures {
    /// What cannot be read is not there.
    pub(crate) fn read(store: &Reader) -> Self {
        let stored = |key: &[u8]| store.get(Tree::Meta, key).ok().flatten();
        let now_s = clock::unix_s();
        let began_s = stored(BEGAN).and_then(|it| codec::decode(&it).ok());
        let began_s = began_s.unwrap_or(now_s);
        let rows = places().filter_map(|place| codec::decode(&stored(place.as_bytes())?).ok());
        Self {
            began_s,
            age: Micros::from_secs(now_s.saturating_sub(began_s)),
            rows: rows.collect(),
        }
    }

    /// What has to be written so that all of it is kept; nothing where nothing was counted.
    pub(crate) fn batch(&self, kpis: &Kpis) -> Option<Batch> {
        kpis.rows(1).next()?;
        let began = codec::encode(&self.began_s);
        let began = Batch::new().put(Tree::Meta, BEGAN, began);
        let put = |batch: Batch, row: (Span, &Counts)| {
            batch.put(Tree::Meta, place(row.0), codec::encode(&row))
        };
        Some(kpis.rows(CHANGED).fold(began, put))
    }
}

/// Where a row lies.
fn place(span: Span) -> String {
    match span {
        Span::Hour(at) => format!("kpi/hour/{}", at % HOURS_MAX as u64),
        Span::Day(at) => format!("kpi/day/{}", at % DAYS_MAX as u64),
    }
}

fn places() -> impl Iterator<Item = String> {
    let hours = (0..HOURS_MAX as u64).map(Span::Hour);
    hours.chain((0..DAYS_MAX as u64).map(Span::Day)).map(place)
}

#[cfg(test)]
mod tests {
    use chorus_protocol::arrival::reliability::Table;
    use chorus_protocol::op::gather::Outcome;
    use chorus_protocol::op::kpi::HOUR;
    use chorus_protocol::op::quorum::{Decision, Tally};
    use chorus_storage::faulty::{FaultyStore, Schedule};
    use chorus_storage::store::Store;

    use super::*;

    /// Counts as many operations in each of these hours, and keeps them after each.
    fn counted(store: &mut FaultyStore, hours: std::ops::Range<u64>) -> Kpis {
        let measures = Measures::read(&store.reader());
        let mut kpis = Kpis::default();
        let rows = measures.rows.iter().cloned();
        kpis.resume(rows, measures.age);
        for at in hours {
            let outcome = Outcome {
                tally: Tally::default(),
                decision: Decision::Proceed,
                success: true,
                elapsed: Micros::ZERO,
            };
            kpis.ended(&outcome, &Table::default(), true, HOUR.times(at));
            store.apply(&measures.batch(&kpis).unwrap()).unwrap();
        }
        store.flush().unwrap();
        kpis
    }

    #[test]
    fn what_was_kept_hour_by_hour_is_read_as_it_was() {
        let mut store = FaultyStore::new(1, Schedule::default());
        assert_eq!(
            Measures::read(&store.reader()).batch(&Kpis::default()),
            None
        );
        let before = counted(&mut store, 0..100);
        let kept = Measures::read(&store.reader());
        let mut after = Kpis::default();
        after.resume(kept.rows, HOUR.times(99));
        let rows = |it: &Kpis| -> Vec<(Span, Counts)> {
            let rows = it.rows(usize::MAX);
            rows.map(|(at, it)| (at, it.clone())).collect()
        };
        assert_eq!(rows(&after), rows(&before));
        assert_eq!(rows(&after).len(), HOURS_MAX + 5);
    }

    #[test]
    fn the_age_of_what_is_kept_is_that_of_its_first_row() {
        let mut store = FaultyStore::new(1, Schedule::default());
        counted(&mut store, 0..1);
        let hour_ago = clock::unix_s() - 3_600;
        let began = Batch::new().put(Tree::Meta, BEGAN, codec::encode(&hour_ago));
        store.apply(&began).unwrap();
        let measures = Measures::read(&store.reader());
        assert!(measures.age >= HOUR && measures.age < HOUR + Micros::from_secs(60));
        assert!(matches!(
            measures.rows[..],
            [(Span::Hour(0), _), (Span::Day(0), _)]
        ));
        // A row that is damaged is left out.
        let bad = Batch::new().put(Tree::Meta, "kpi/hour/0", [0xc1]);
        store.apply(&bad).unwrap();
        assert_eq!(Measures::read(&store.reader()).rows.len(), 1);
    }
}
