//! Predict: how long before T a message must leave for one agent, and how sure that is (seed 3.1; H1, H3).
//!
//! lead = base·e^ρ(q): base is what the agent's profile expects of such a message, ρ(q) the
//! quantile q of how far base was off over the last 100. A receiver that cannot hold is aimed at
//! in the middle, q = 0.5: early is as bad as late. One that holds its READY until T is sent to
//! early, q = 0.95 to 0.99: it is late one time in twenty to a hundred, and idle otherwise.
//!
//! Confidence = (hits + 1)/(n + 2): of the n last messages, how many would have been within half
//! the window of T, led as this one is. It is a share, it answers for this window and this aim,
//! and an agent of which nothing is known gets one half.

use crate::impedance::class::PRIOR_UNTIL;
use crate::impedance::{Profile, Weight};
use crate::phase::normal;
use crate::units::Micros;

/// The spread of ρ until [`PRIOR_UNTIL`] messages were seen: a wild guess, on the side of early
/// for who holds. (In the model an agent's own is 0.1 to 0.5.)
const RHO_PRIOR: f32 = 0.5;

/// What the receiver does with a message that it is READY for before T.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Aim {
    /// Nothing: READY is when it is.
    Unheld,
    /// It holds until T; it is to be early with this probability.
    Held {
        /// 0.5 to 0.99.
        quantile: f32,
    },
}

impl Aim {
    /// Late one time in twenty.
    pub const HELD_95: Aim = Aim::Held { quantile: 0.95 };
    /// Late one time in a hundred, for twice the idling.
    pub const HELD_99: Aim = Aim::Held { quantile: 0.99 };

    /// q.
    pub fn quantile(self) -> f32 {
        match self {
            Aim::Unheld => 0.5,
            Aim::Held { quantile } => quantile.clamp(0.5, 0.99),
        }
    }

    /// When the receiver counts as READY, of a message that it was loaded with `ready` after it
    /// was sent, `lead` before T: that, or T if it holds and is early.
    pub fn released(self, ready: Micros, lead: Micros) -> Micros {
        match self {
            Aim::Unheld => ready,
            Aim::Held { .. } => ready.max(lead),
        }
    }
}

/// What is expected of one message to one agent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// How long before T it leaves.
    pub lead: Micros,
    /// What the profile alone expects from sending to READY.
    pub base: Micros,
    /// The part of it that is processing.
    pub processing: Micros,
    /// The probability that READY is within half the window of T; in (0, 1).
    pub confidence: f32,
    /// What the receiver does when it is early.
    pub aim: Aim,
    /// Whether base was measured of this agent; else it is its class's prior.
    pub is_measured: bool,
}

/// Predicts for a message of `weight` behind `queue` others, to arrive in the whole `window`
/// around T.
pub fn predict(
    profile: &Profile,
    weight: Weight,
    queue: u16,
    aim: Aim,
    window: Micros,
) -> Prediction {
    let base_ms = profile.base_ms(weight, queue);
    let lead_ms = base_ms * rho(profile, aim).exp();
    Prediction {
        lead: micros(lead_ms),
        base: micros(base_ms),
        processing: micros(profile.unit_ms() * weight.factor()),
        confidence: confidence(profile, base_ms, lead_ms, aim, window),
        aim,
        is_measured: profile.is_measured(),
    }
}

/// Lets `profile` learn that a message was READY `actual` after it was sent, any hold subtracted.
///
/// A base that came from priors teaches nothing: its error is not that of the bases to come.
pub fn learn(profile: &mut Profile, prediction: &Prediction, actual: Micros) {
    if prediction.is_measured {
        let ratio = actual.0 as f64 / prediction.base.0.max(1) as f64;
        profile.missed_by(ratio.ln() as f32);
    }
}

/// The quantile of ρ that `aim` asks for.
fn rho(profile: &Profile, aim: Aim) -> f32 {
    let q = aim.quantile();
    let measured = profile.ratios().quantile(q);
    measured
        .filter(|_| profile.ratios().len() >= PRIOR_UNTIL)
        .unwrap_or_else(|| RHO_PRIOR * normal::quantile(f64::from(q)) as f32)
}

fn confidence(profile: &Profile, base_ms: f32, lead_ms: f32, aim: Aim, window: Micros) -> f32 {
    let ratios = profile.ratios();
    let half_ms = (window.0 as f64 / 2e3) as f32;
    let latest = ((lead_ms + half_ms) / base_ms).ln();
    let earliest = match aim {
        Aim::Unheld => ((lead_ms - half_ms).max(0.0) / base_ms).ln(),
        Aim::Held { .. } => f32::NEG_INFINITY,
    };
    let hits = ratios.count_between(earliest, latest);
    (hits + 1) as f32 / (ratios.len() + 2) as f32
}

fn micros(ms: f32) -> Micros {
    Micros((f64::from(ms) * 1e3).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::impedance::Class;

    const WINDOW: Micros = Micros::from_millis(500);

    /// Net 50 ms, 100 ms at weight 1, an empty queue; off by each of `rhos`.
    fn profile(rhos: impl IntoIterator<Item = f32>) -> Profile {
        let mut profile = Profile::new(Class::Persistent);
        for _ in 0..9 {
            profile.echoed(Micros::from_millis(100), Micros::ZERO);
            profile.processed(Micros::from_millis(100), Weight::STANDARD);
        }
        rhos.into_iter().for_each(|rho| profile.missed_by(rho));
        profile
    }

    fn of(profile: &Profile, aim: Aim) -> Prediction {
        predict(profile, Weight::STANDARD, 0, aim, WINDOW)
    }

    fn is_near(a: Micros, b_ms: f64) -> bool {
        (a.0 as f64 / 1e3 - b_ms).abs() < 0.01
    }

    #[test]
    fn lead_is_base_by_the_quantile_that_the_aim_asks_for() {
        let known = profile((0..=100).map(|n| n as f32 / 100.0));
        // The window forgot the first of the 101: 0.01 to 1.00 are left.
        for (aim, rho) in [
            (Aim::Unheld, 0.505),
            (Aim::HELD_95, 0.9505),
            (Aim::HELD_99, 0.9901),
        ] {
            let prediction = of(&known, aim);
            assert!(is_near(prediction.base, 150.0) && is_near(prediction.processing, 100.0));
            assert!(
                is_near(prediction.lead, 150.0 * f64::exp(rho)),
                "{prediction:?}"
            );
        }
    }

    #[test]
    fn before_eight_errors_who_holds_gets_a_margin_and_who_does_not_none() {
        for seen in [0, 7] {
            let new = profile((0..seen).map(|_| 3.0));
            assert!(is_near(of(&new, Aim::Unheld).lead, 150.0));
            let held = of(&new, Aim::HELD_95).lead.as_millis();
            assert!((341..=342).contains(&held), "{held}");
        }
        assert!(of(&profile((0..8).map(|_| 3.0)), Aim::Unheld).lead > Micros::from_secs(3));
    }

    #[test]
    fn confidence_is_the_share_of_hits_with_one_more_of_each() {
        assert_eq!(of(&profile([]), Aim::Unheld).confidence, 0.5);
        assert_eq!(
            of(&profile([0.0; 100]), Aim::Unheld).confidence,
            101.0 / 102.0
        );
        // Half of them came after twice the time: the middle is 75 ms off both.
        let split = profile((0..100).map(|n| if n % 2 == 0 { 0.0 } else { 2f32.ln() }));
        let narrow = |aim| predict(&split, Weight::STANDARD, 0, aim, Micros::from_millis(100));
        assert_eq!(
            narrow(Aim::Unheld).confidence,
            1.0 / 102.0,
            "within 50 ms of 212"
        );
        assert_eq!(
            narrow(Aim::HELD_95).confidence,
            101.0 / 102.0,
            "none is late, all hold"
        );
        assert_eq!(
            of(&split, Aim::Unheld).confidence,
            101.0 / 102.0,
            "within 250 ms"
        );
    }

    #[test]
    fn who_holds_is_never_early() {
        let (early, lead, late) = (Micros(5), Micros(9), Micros(12));
        assert_eq!(Aim::HELD_95.released(early, lead), lead);
        assert_eq!(Aim::HELD_95.released(late, lead), late);
        assert_eq!(Aim::Unheld.released(early, lead), early);
    }

    #[test]
    fn errors_of_priors_teach_nothing_and_those_of_measured_bases_do() {
        let mut new = Profile::new(Class::Human);
        let guess = of(&new, Aim::Unheld);
        assert!(!guess.is_measured);
        learn(&mut new, &guess, Micros::from_millis(1));
        assert!(new.ratios().is_empty());

        let mut known = profile([]);
        let prediction = of(&known, Aim::HELD_99);
        learn(&mut known, &prediction, prediction.base.times(2));
        let rho = known.ratios().median().unwrap_or_default();
        assert!(
            (rho - 2f32.ln()).abs() < 1e-4,
            "of base, not of lead: {rho}"
        );
        learn(&mut known, &prediction, Micros::ZERO);
        assert_eq!(known.ratios().len(), 1, "nothing is READY at once");
    }

    #[test]
    fn an_aim_outside_of_its_range_is_brought_into_it() {
        let aims = [0.0, 0.5, 1.0].map(|quantile| Aim::Held { quantile }.quantile());
        assert_eq!(aims, [0.5, 0.5, 0.99]);
    }

    #[test]
    fn absurd_measurements_give_a_long_lead_and_no_panic() {
        let mut absurd = profile([f32::MAX; 9]);
        (0..64).for_each(|_| absurd.processed(Micros::NEVER, Weight::STANDARD));
        let prediction = of(&absurd, Aim::HELD_99);
        assert_eq!(prediction.lead, Micros::NEVER);
        assert!(
            (0.0..=1.0).contains(&prediction.confidence),
            "{prediction:?}"
        );
    }
}
