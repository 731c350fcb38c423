//! Reliability: what was predicted against what came (H3, H11; KPI "prediction within 50 ms for 90 %").
//!
//! A confidence is worth something when of the messages given 0.9 nine in ten hit. The table
//! counts by decile of confidence; beside it stand the errors' percentiles and what holding cost.
//! It is of fixed size and merges, so a node keeps one for each hour and adds them up.

use serde::{Deserialize, Serialize};

use crate::arrival::predict::Aim;
use crate::arrival::schedule::Compensation;
use crate::impedance::histogram::Histogram;
use crate::units::Micros;

/// An error that the seed's KPI still counts as near.
pub const NEAR: Micros = Micros::from_millis(50);

/// How one message came out; published for each.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// What was promised.
    pub confidence: f32,
    /// READY − T in microseconds: late above 0, early below; `None` when it never came.
    pub error_us: Option<i64>,
    /// Whether READY was within half the window of T.
    pub is_hit: bool,
    /// How long the receiver held it; `None` of one that does not hold.
    pub idle: Option<Micros>,
}

impl Outcome {
    /// Of a message that was loaded `actual` after it was sent, any hold subtracted, and was to
    /// be READY in the whole `window` around T.
    pub fn of(sent: &Compensation, actual: Micros, window: Micros) -> Self {
        let ready = sent.aim.released(actual, sent.lead);
        let error = i128::from(ready.0) - i128::from(sent.lead.0);
        let holds = matches!(sent.aim, Aim::Held { .. });
        Self {
            confidence: sent.confidence,
            error_us: Some(i64::try_from(error).unwrap_or(i64::MAX)),
            is_hit: error.unsigned_abs() <= u128::from(window.0 / 2),
            idle: holds.then(|| ready.since(actual)),
        }
    }

    /// Of a message that nothing came of: a miss of whatever size.
    pub fn lost(sent: &Compensation) -> Self {
        Self {
            confidence: sent.confidence,
            error_us: None,
            is_hit: false,
            idle: None,
        }
    }
}

/// The messages whose confidence was in one tenth of 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decile {
    /// How many.
    pub messages: u64,
    /// How many hit.
    pub hits: u64,
    /// Σ of their confidences, in millionths: sums of whole numbers merge in any order.
    pub promised_ppm: u64,
}

impl Decile {
    /// The mean confidence; `None` without messages.
    pub fn promised(&self) -> Option<f64> {
        let mean = self.promised_ppm as f64 / self.messages as f64 / 1e6;
        (self.messages > 0).then_some(mean)
    }

    /// The share that hit; `None` without messages.
    pub fn kept(&self) -> Option<f64> {
        (self.messages > 0).then(|| self.hits as f64 / self.messages as f64)
    }

    fn add(&mut self, more: &Decile) {
        self.messages = self.messages.saturating_add(more.messages);
        self.hits = self.hits.saturating_add(more.hits);
        self.promised_ppm = self.promised_ppm.saturating_add(more.promised_ppm);
    }
}

/// The table. 2.4 KB, whatever is counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    deciles: [Decile; 10],
    /// |READY − T| in microseconds, to one part in 32 and up to 19 hours.
    errors: Histogram<528>,
    near: u64,
    held: u64,
    idle_us: u64,
    /// Messages of which nobody said what became of them: no hits, of no known confidence. Only
    /// whoever asked knows how many they are.
    #[serde(default, skip_serializing_if = "is_zero")]
    unheard: u64,
}

fn is_zero(many: &u64) -> bool {
    *many == 0
}

impl Table {
    /// Counts `many` messages of which nobody said what became of them, as no hits.
    pub fn lose(&mut self, many: u64) {
        self.unheard = self.unheard.saturating_add(many);
    }

    /// Counts a message.
    pub fn record(&mut self, outcome: &Outcome) {
        // Of what is no number the cast makes 0.
        let ppm = (f64::from(outcome.confidence) * 1e6).clamp(0.0, 1e6) as u64;
        let decile = &mut self.deciles[(ppm / 100_000).min(9) as usize];
        decile.add(&Decile {
            messages: 1,
            hits: outcome.is_hit.into(),
            promised_ppm: ppm,
        });
        if let Some(error_us) = outcome.error_us {
            self.errors.add(error_us.unsigned_abs());
            let is_near = error_us.unsigned_abs() <= NEAR.0;
            self.near = self.near.saturating_add(is_near.into());
        }
        if let Some(idle) = outcome.idle {
            self.held = self.held.saturating_add(1);
            self.idle_us = self.idle_us.saturating_add(idle.0);
        }
    }

    /// Counts all that `other` counted.
    pub fn merge(&mut self, other: &Table) {
        for (decile, more) in self.deciles.iter_mut().zip(&other.deciles) {
            decile.add(more);
        }
        self.errors.merge(&other.errors);
        self.near = self.near.saturating_add(other.near);
        self.held = self.held.saturating_add(other.held);
        self.idle_us = self.idle_us.saturating_add(other.idle_us);
        self.unheard = self.unheard.saturating_add(other.unheard);
    }

    /// Whether such messages can have been counted, none of which was held for longer than `idle_max`.
    pub fn is_sound(&self, idle_max: Micros) -> bool {
        let messages = self.messages();
        let decile = |it: &Decile| {
            it.hits <= it.messages && it.promised_ppm <= it.messages.saturating_mul(1_000_000)
        };
        let some = [self.near, self.held, self.errors.total()];
        self.deciles.iter().all(decile)
            && some.iter().all(|it| *it <= messages)
            && self.idle_us <= idle_max.times(self.held).0
    }

    /// The deciles, from 0 to 0.1 on.
    pub fn deciles(&self) -> &[Decile; 10] {
        &self.deciles
    }

    /// How many messages somebody said something of.
    pub fn messages(&self) -> u64 {
        let messages = self.deciles.iter().map(|decile| decile.messages);
        messages.fold(0, u64::saturating_add)
    }

    /// How many messages were sent: those too of which nobody said anything.
    pub fn sent(&self) -> u64 {
        self.messages().saturating_add(self.unheard)
    }

    /// The mean confidence; `None` without messages.
    pub fn promised(&self) -> Option<f64> {
        let sum = self.deciles.iter().map(|decile| decile.promised_ppm);
        let sum = sum.fold(0, u64::saturating_add);
        let messages = self.messages();
        (messages > 0).then(|| sum as f64 / messages as f64 / 1e6)
    }

    /// The share of all messages that hit; `None` without messages.
    pub fn hit_rate(&self) -> Option<f64> {
        let hits = self.deciles.iter().map(|decile| decile.hits);
        self.share(hits.fold(0, u64::saturating_add))
    }

    /// The share of all messages, lost ones among them, within [`NEAR`] of T.
    pub fn near_rate(&self) -> Option<f64> {
        self.share(self.near)
    }

    /// The quantile `q` of |READY − T| of those that came, to one part in 32.
    pub fn error(&self, q: f64) -> Option<Micros> {
        self.errors.quantile(q).map(Micros)
    }

    /// The mean time that receivers held, of those that hold: the price of the hits.
    pub fn mean_idle(&self) -> Option<Micros> {
        self.idle_us.checked_div(self.held).map(Micros)
    }

    /// The mean distance of promised and kept over all messages (the expected calibration
    /// error): 0 is honest.
    pub fn miscalibration(&self) -> Option<f64> {
        let off = self.deciles.iter().filter_map(|decile| {
            let distance = (decile.promised()? - decile.kept()?).abs();
            Some(distance * decile.messages as f64)
        });
        let messages = self.messages();
        (messages > 0).then(|| off.sum::<f64>() / messages as f64)
    }

    fn share(&self, part: u64) -> Option<f64> {
        let sent = self.sent();
        (sent > 0).then(|| part as f64 / sent as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Micros = Micros::from_millis(500);

    fn sent(confidence: f32, aim: Aim) -> Compensation {
        Compensation {
            lead: Micros::from_millis(300),
            processing: Micros::from_millis(100),
            confidence,
            aim,
        }
    }

    fn came(aim: Aim, actual_ms: u64) -> Outcome {
        Outcome::of(&sent(0.9, aim), Micros::from_millis(actual_ms), WINDOW)
    }

    #[test]
    fn only_what_can_have_been_counted_is_sound() {
        let mut table = Table::default();
        for ms in [50, 290, 600] {
            let outcome = Outcome::of(&sent(0.95, Aim::HELD_95), Micros::from_millis(ms), WINDOW);
            table.record(&outcome);
        }
        table.lose(7);
        assert!(table.is_sound(WINDOW) && Table::default().is_sound(WINDOW));
        let spoils: [fn(&mut Table); 6] = [
            |it| it.deciles[9].hits = 4,
            |it| it.deciles[9].promised_ppm = 3_000_001,
            |it| it.near = 4,
            |it| it.held = u64::MAX,
            |it| it.idle_us = WINDOW.0 * 3 + 1,
            |it| (0..4).for_each(|_| it.errors.add(0)),
        ];
        for (at, spoil) in spoils.into_iter().enumerate() {
            let mut spoiled = table.clone();
            spoil(&mut spoiled);
            assert!(!spoiled.is_sound(WINDOW), "{at}");
        }
    }

    #[test]
    fn early_and_late_are_errors_alike_unless_it_is_held() {
        let cases = [
            (Aim::Unheld, 50, -250_000, true, None),
            (Aim::Unheld, 49, -251_000, false, None),
            (Aim::Unheld, 550, 250_000, true, None),
            (Aim::Unheld, 551, 251_000, false, None),
            (Aim::HELD_95, 49, 0, true, Some(251)),
            (Aim::HELD_95, 551, 251_000, false, Some(0)),
        ];
        for (aim, actual_ms, error_us, is_hit, idle_ms) in cases {
            let outcome = came(aim, actual_ms);
            assert_eq!(outcome.error_us, Some(error_us), "{aim:?} {actual_ms}");
            assert_eq!(outcome.is_hit, is_hit, "{aim:?} {actual_ms}");
            assert_eq!(
                outcome.idle,
                idle_ms.map(Micros::from_millis),
                "{aim:?} {actual_ms}"
            );
        }
        let never = Outcome::of(&sent(0.9, Aim::Unheld), Micros::NEVER, WINDOW);
        assert_eq!((never.error_us, never.is_hit), (Some(i64::MAX), false));
    }

    #[test]
    fn promises_are_held_against_what_came_by_decile() {
        let mut table = Table::default();
        // 0.95 is promised and kept; 0.55 is promised and 0.25 kept.
        for n in 0..100 {
            let hit = |share| if n % 100 < share { 300 } else { 900 };
            for (confidence, share) in [(0.95, 95), (0.55, 25)] {
                let sent = sent(confidence, Aim::Unheld);
                table.record(&Outcome::of(&sent, Micros::from_millis(hit(share)), WINDOW));
            }
        }
        let filled = table
            .deciles()
            .iter()
            .enumerate()
            .filter(|(_, it)| it.messages > 0);
        let filled: Vec<_> = filled.map(|(at, it)| (at, it.messages, it.hits)).collect();
        assert_eq!(filled, [(5, 100, 25), (9, 100, 95)]);
        let promised = table.deciles()[9].promised().unwrap_or_default();
        assert!((promised - 0.95).abs() < 1e-5, "{promised}");
        assert_eq!(table.deciles()[5].kept(), Some(0.25));
        let off = table.miscalibration().unwrap_or_default();
        assert!((off - 0.15).abs() < 1e-5, "{off}");
        assert_eq!((table.messages(), table.hit_rate()), (200, Some(0.6)));
        table.lose(50);
        assert_eq!((table.messages(), table.sent()), (200, 250));
        assert_eq!(table.hit_rate(), Some(120.0 / 250.0));
        let promised = table.promised().unwrap_or_default();
        assert!((promised - 0.75).abs() < 1e-5, "{promised}");
    }

    #[test]
    fn errors_and_the_price_of_holding_are_shown() {
        let mut table = Table::default();
        assert_eq!(
            (table.error(0.5), table.mean_idle(), table.miscalibration()),
            (None, None, None)
        );
        assert_eq!((table.hit_rate(), table.near_rate()), (None, None));
        (0..90).for_each(|_| table.record(&came(Aim::HELD_95, 200)));
        (0..9).for_each(|_| table.record(&came(Aim::HELD_95, 340)));
        table.record(&Outcome::lost(&sent(0.9, Aim::HELD_95)));
        assert_eq!(table.error(0.5), Some(Micros::ZERO));
        let p99 = table.error(0.99).unwrap_or_default();
        assert!(p99.0.abs_diff(40_000) <= 40_000 / 32, "{p99}");
        // Who never came held nothing that is known, and is in the rates.
        assert_eq!(table.mean_idle(), Some(Micros(90 * 100_000 / 99)));
        assert_eq!(
            (table.near_rate(), table.hit_rate()),
            (Some(0.99), Some(0.99))
        );
    }

    #[test]
    fn hours_add_up() {
        let (mut first, mut second, mut all) =
            (Table::default(), Table::default(), Table::default());
        for n in 0..40 {
            let outcome = came(
                if n % 3 == 0 {
                    Aim::Unheld
                } else {
                    Aim::HELD_99
                },
                20 * n,
            );
            if n < 13 { &mut first } else { &mut second }.record(&outcome);
            all.record(&outcome);
        }
        second.merge(&first);
        assert_eq!(second, all);
        let bytes = rmp_serde::to_vec_named(&all).unwrap_or_default();
        assert_eq!(rmp_serde::from_slice(&bytes).ok(), Some(all));
    }

    #[test]
    fn it_is_as_small_as_it_says_and_takes_nonsense() {
        assert_eq!(size_of::<Table>(), 2_384);
        let mut table = Table::default();
        for confidence in [f32::NAN, -1.0, 7.0, 1.0] {
            table.record(&came(Aim::Unheld, 300));
            table.record(&Outcome::lost(&sent(confidence, Aim::Unheld)));
        }
        assert_eq!((table.deciles()[0].messages, table.messages()), (2, 8));
    }
}
