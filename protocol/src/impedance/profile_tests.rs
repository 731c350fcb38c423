//! Examples of what a profile makes of its samples.

use super::*;

fn ms(n: u64) -> Micros {
    Micros::from_millis(n)
}

/// An agent that takes `rtt_ms` and, at weight 1, `processing_ms`, heard every 5 s until `until_s`.
fn beat(profile: &mut Profile, rtt_ms: u64, processing_ms: u64, from_s: u64, until_s: u64) {
    for s in (from_s..until_s).step_by(5) {
        profile.echoed(ms(rtt_ms), Micros::ZERO);
        profile.processed(ms(processing_ms), Weight::STANDARD);
        profile.heard(0, Micros::from_secs(s));
    }
}

fn settled_at(rtt_ms: u64, processing_ms: u64) -> Profile {
    let mut profile = Profile::new(Class::Persistent);
    beat(&mut profile, rtt_ms, processing_ms, 0, 600);
    profile
}

const NOW: Micros = Micros::from_secs(600);

#[test]
fn it_is_as_small_as_it_says() {
    assert_eq!(size_of::<Profile>(), 1_728);
    assert_eq!(size_of::<Waits>(), 404);
    assert_eq!(size_of::<Hour>(), 244);
}

#[test]
fn priors_stand_until_eight_samples() {
    for class in Class::ALL {
        let traits = class.traits();
        let mut profile = Profile::new(class);
        let prior = traits.rtt_prior_ms as f32 / 2.0 + traits.processing_prior_ms as f32 * 1.5;
        assert_eq!(profile.base_ms(Weight::STANDARD, 0), prior, "{class}");
        // Ten in the queue are one more service.
        let behind_ten = prior + traits.processing_prior_ms as f32;
        assert!((profile.base_ms(Weight::STANDARD, 10) - behind_ten).abs() < 1e-3);
        for n in 1..=8 {
            assert!(!profile.is_measured() && profile.drift() == 0.0, "{n}");
            assert_eq!(profile.base_ms(Weight::STANDARD, 0), prior, "{class}");
            profile.echoed(ms(40), Micros::ZERO);
            profile.processed(ms(30), Weight::STANDARD);
        }
        assert!(profile.is_measured());
        assert_eq!(profile.base_ms(Weight::STANDARD, 0), 20.0 + 30.0, "{class}");
    }
}

#[test]
fn a_hold_is_no_part_of_the_round_trip() {
    let mut profile = Profile::new(Class::Edge);
    (0..32).for_each(|_| profile.echoed(ms(510), ms(500)));
    assert_eq!(profile.net_ms(), 5.0);
    // Who says that it held an echo for longer than that was away is not believed.
    (0..32).for_each(|_| profile.echoed(ms(5), ms(500)));
    assert_eq!(profile.net_ms(), 5.0);
}

#[test]
fn processing_is_known_for_every_weight_from_any() {
    let mut profile = Profile::new(Class::Edge);
    let heavy = Weight::new(4.0).expect("a weight");
    (0..9).for_each(|_| profile.processed(ms(60), heavy));
    assert_eq!(profile.unit_ms(), 20.0);
    let light = Weight::new(0.0).expect("a weight");
    assert_eq!(profile.base_ms(light, 0), profile.net_ms() + 20.0);
    assert_eq!(profile.base_ms(heavy, 0), profile.net_ms() + 60.0);
}

#[test]
fn one_bad_sample_moves_nothing() {
    let mut profile = settled_at(100, 60);
    let before = profile.base_ms(Weight::STANDARD, 0);
    profile.echoed(Micros::from_secs(3_600), Micros::ZERO);
    profile.processed(Micros::NEVER, Weight::STANDARD);
    assert_eq!(profile.base_ms(Weight::STANDARD, 0), before);
    assert_eq!(profile.score(), Score::of_millis(110.0));
    assert!(!profile.flags().spiking && !profile.flags().slow);
}

#[test]
fn a_queue_raises_the_score() {
    let mut profile = settled_at(100, 60);
    (0..64).for_each(|n| profile.waited(n % 4, ms(u64::from(n % 4) * 30)));
    profile.heard(3, NOW);
    let score = profile.score().get();
    assert!((199..=201).contains(&score), "{score}");
}

#[test]
fn above_800_is_slow_and_degraded_but_not_for_people() {
    let slow = settled_at(400, 601);
    assert_eq!(slow.score().get(), 801);
    assert!(slow.flags().slow && slow.state(NOW) == State::Degraded);
    let on_the_edge = settled_at(400, 600);
    assert!(!on_the_edge.flags().slow && on_the_edge.state(NOW) == State::Active);
    let mut person = Profile::new(Class::Human);
    beat(&mut person, 100, 90_000, 0, 600);
    assert_eq!(person.score(), Score::MAX);
    assert!(!person.flags().slow && person.state(NOW) == State::Active);
}

#[test]
fn drift_is_the_spread_over_the_mean() {
    // Net 50 ± 40 and no processing: a coefficient of 0.8.
    let mut profile = Profile::new(Class::Edge);
    for n in 0..64 {
        profile.echoed(ms(if n % 2 == 0 { 20 } else { 180 }), Micros::ZERO);
        profile.processed(Micros::ZERO, Weight::STANDARD);
    }
    assert!((profile.drift() - 0.8).abs() < 1e-4, "{}", profile.drift());
    profile.heard(0, NOW);
    assert!(profile.flags().unstable && profile.state(NOW) == State::Active);
    // The same spread of a larger whole is no drift.
    (0..64).for_each(|_| profile.processed(ms(200), Weight::STANDARD));
    assert!(
        (profile.drift() - 40.0 / 250.0).abs() < 1e-3,
        "{}",
        profile.drift()
    );
    assert!(!profile.flags().unstable);
}

#[test]
fn twice_the_baseline_is_a_spike_until_it_is_the_rule() {
    let mut profile = Profile::new(Class::Persistent);
    beat(&mut profile, 100, 50, 0, 4_000);
    beat(&mut profile, 100, 250, 4_000, 4_015);
    assert!(!profile.flags().spiking, "three of the newest eight");
    beat(&mut profile, 100, 250, 4_015, 4_030);
    assert!(profile.flags().spiking);
    assert_eq!(profile.state(Micros::from_secs(4_030)), State::Degraded);
    // Still one after ten minutes, and none after two hours.
    beat(&mut profile, 100, 250, 4_030, 4_630);
    assert!(profile.flags().spiking);
    beat(&mut profile, 100, 250, 4_630, 11_200);
    assert!(!profile.flags().spiking);
    // Faster than ever is none.
    beat(&mut profile, 10, 5, 11_200, 11_300);
    assert!(!profile.flags().spiking);
}

#[test]
fn what_takes_less_than_a_bucket_more_is_no_spike() {
    let mut profile = Profile::new(Class::Edge);
    beat(&mut profile, 2, 1, 0, 4_000);
    beat(&mut profile, 2, 9, 4_000, 4_030);
    assert!(!profile.flags().spiking, "10 ms instead of 2");
    beat(&mut profile, 2, 15, 4_030, 4_060);
    assert!(profile.flags().spiking, "16 instead of 2");
}

#[test]
fn states_follow_what_was_heard_and_who_was_set_aside() {
    let mut profile = Profile::new(Class::Edge);
    assert_eq!(profile.state(NOW), State::Offline, "never heard");
    profile.heard(0, NOW);
    assert_eq!(profile.state(NOW + OFFLINE_AFTER), State::Active);
    assert_eq!(profile.state(NOW + OFFLINE_AFTER + ms(1)), State::Offline);
    profile.lost();
    assert_eq!(profile.state(NOW), State::Offline, "evicted");
    profile.heard(0, NOW);
    profile.quarantine(true);
    assert_eq!(profile.state(NOW), State::Quarantined);
    assert_eq!(profile.state(Micros::NEVER), State::Quarantined);
    profile.quarantine(false);
    assert_eq!(profile.state(NOW), State::Active);
}

#[test]
fn a_command_that_ends_twice_without_an_answer_crashes_until_it_gives_one() {
    let mut profile = Profile::new(Class::Edge);
    profile.heard(0, NOW);
    for (ends, state) in [
        (1, State::Active),
        (2, State::Degraded),
        (0, State::Active),
        (u32::MAX, State::Degraded),
    ] {
        profile.crashed(ends);
        assert_eq!(profile.flags().crashing, ends > 1);
        assert_eq!(profile.state(NOW), state, "after {ends}");
    }
}

#[test]
fn the_hour_and_the_context_are_told_as_they_are() {
    let mut profile = Profile::new(Class::Gpu);
    assert_eq!((profile.reliability(NOW), profile.context()), (None, None));
    profile.ended(true, NOW);
    profile.ended(false, NOW);
    profile.loaded(Some(Digest([7; 32])));
    assert_eq!(profile.reliability(NOW), Some(0.5));
    assert_eq!(profile.context(), Some(Digest([7; 32])));
}
