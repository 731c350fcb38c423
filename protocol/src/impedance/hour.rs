//! How many of an agent's operations of the last hour went well, minute by minute.

use crate::units::Micros;

const MINUTES: usize = 60;
const MINUTE: Micros = Micros::from_secs(60);

/// Sixty minutes of (well, all). 244 bytes; a minute counts at most 65,535 and then halves both,
/// so that a flood keeps its rate.
#[derive(Debug, Clone)]
pub struct Hour {
    /// By minute modulo 60.
    well: [u16; MINUTES],
    all: [u16; MINUTES],
    /// The newest minute that was counted, since the clock's origin.
    minute: u32,
}

impl Default for Hour {
    fn default() -> Self {
        Self {
            well: [0; MINUTES],
            all: [0; MINUTES],
            minute: 0,
        }
    }
}

impl Hour {
    /// Counts an operation that ended at `now`. One from before the newest minute counts there.
    pub fn record(&mut self, now: Micros, well: bool) {
        let minute = minute_of(now).max(self.minute);
        let passed = (minute - self.minute).min(MINUTES as u32);
        // The passed minutes up to this one begin empty; sixty of them are the whole ring.
        for back in 0..passed {
            let at = (minute - back) as usize % MINUTES;
            (self.well[at], self.all[at]) = (0, 0);
        }
        self.minute = minute;
        let at = minute as usize % MINUTES;
        if self.all[at] == u16::MAX {
            self.all[at] /= 2;
            self.well[at] /= 2;
        }
        self.all[at] += 1;
        self.well[at] += u16::from(well);
    }

    /// The share that went well in the hour before `now`, this minute and the 59 before it;
    /// `None` when there was none.
    pub fn rate(&self, now: Micros) -> Option<f32> {
        let oldest = (minute_of(now) + 1).saturating_sub(MINUTES as u32);
        let kept = (self.minute + 1).saturating_sub(MINUTES as u32);
        let (mut well, mut all) = (0u32, 0u32);
        for minute in oldest.max(kept)..=self.minute {
            let at = minute as usize % MINUTES;
            well += u32::from(self.well[at]);
            all += u32::from(self.all[at]);
        }
        (all > 0).then(|| well as f32 / all as f32)
    }
}

fn minute_of(now: Micros) -> u32 {
    // A clock of 8,000 years does not overflow it.
    u32::try_from(now.0 / MINUTE.0).unwrap_or(u32::MAX - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Beside a list of all operations.
        #[test]
        fn is_the_rate_of_the_last_sixty_minutes(
            gaps in prop::collection::vec((0u64..1_500, any::<bool>()), 1..80),
            later_s in 0u64..8_000,
        ) {
            let mut hour = Hour::default();
            let (mut s, mut list) = (7, Vec::new());
            for (gap, well) in gaps {
                s += gap;
                list.push((s / 60, well));
                hour.record(Micros::from_secs(s), well);
            }
            let now = s + later_s;
            let inside = list.iter().filter(|(minute, _)| minute + 60 > now / 60);
            let (well, all) = inside.fold((0, 0), |n, (_, w)| (n.0 + i32::from(*w), n.1 + 1));
            let expected = (all > 0).then(|| well as f32 / all as f32);
            prop_assert_eq!(hour.rate(Micros::from_secs(now)), expected);
        }
    }

    #[test]
    fn a_flood_keeps_its_rate() {
        let mut hour = Hour::default();
        (0..300_000).for_each(|n| hour.record(Micros::from_secs(5), n % 4 > 0));
        let rate = hour.rate(Micros::from_secs(5)).unwrap_or_default();
        assert!((rate - 0.75).abs() < 1e-3, "{rate}");
    }

    #[test]
    fn the_end_of_time_is_harmless() {
        let mut hour = Hour::default();
        hour.record(Micros::NEVER, true);
        hour.record(Micros::ZERO, false);
        assert_eq!(hour.rate(Micros::NEVER), Some(0.5));
    }
}
