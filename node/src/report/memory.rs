//! Memory in `status`: what is held, by how many, who is behind, and what the copies are good
//! for.

use chorus_actors::memory::MemoryView;
use chorus_protocol::memory::placement::lost;
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

/// The shares of the members whose loss is looked at, in hundredths, as `survival` names them.
pub const LOSSES: [(&str, usize); 3] = [("loss_50", 50), ("loss_90", 90), ("loss_99", 99)];

/// `memory` of `chorus.status/1`; `live` of the members can be heard, this node included.
pub fn memory(view: &MemoryView, live: usize) -> Value {
    let live = live.min(view.members);
    let copies_live = copies_live(view, live);
    json!({
        "records": view.records,
        "bytes": view.bytes,
        "bytes_max": view.bytes_max,
        "digest": view.digest.map(|digest| HEXLOWER.encode(&digest.0)),
        "whole": view.whole,
        "copies": view.copies,
        "copies_live": copies_live,
        "members": view.members,
        "members_live": live,
        "neighbours": view.neighbours,
        "agree": view.agree,
        "behind": view.behind,
        "conflicts": view.conflicts,
        "survival": survival(live, copies_live),
    })
}

/// Of the copies of a record those on members that live, as far as can be said without asking:
/// the part of the members that lives has that part of the copies.
pub fn copies_live(view: &MemoryView, live: usize) -> usize {
    match view.members {
        0 => 0,
        members => (view.copies * live.min(members)).div_ceil(members),
    }
}

/// The probability that a record outlives the loss of so many of the live members, whichever they
/// are; nothing where there is only one, which is either there or not.
fn survival(members: usize, copies: usize) -> Value {
    if members < 2 {
        return Value::Null;
    }
    let outlives = |hundredths: usize| 1.0 - lost(members, members * hundredths / 100, copies);
    let rows = LOSSES.map(|(name, hundredths)| (name.to_owned(), outlives(hundredths).into()));
    Value::Object(rows.into_iter().collect())
}

/// `memory` of a status in words.
pub fn memory_words(memory: &Value) -> String {
    let number = |name: &str| memory[name].as_u64().unwrap_or_default();
    let mut words = format!(
        "records {}, bytes {} of {}",
        number("records"),
        number("bytes"),
        number("bytes_max")
    );
    if number("conflicts") > 0 {
        words += &format!(
            ", {} keys in CONFLICT (chorus conflicts ls)",
            number("conflicts")
        );
    }
    let (live, members) = (number("members_live"), number("members"));
    if memory["survival"].is_null() {
        words += "; no other node holds a copy";
        if members > 1 {
            words += &format!(" that can be reached: of {members} members only this one is heard");
        }
        return words;
    }
    let [half, ninety, ninety_nine] = LOSSES.map(|(name, _)| {
        let p = memory["survival"][name].as_f64();
        p.map_or_else(|| "-".into(), probability)
    });
    words += &format!(
        "; agrees with {} of {} neighbours; once all agree a record is on {} of the {live} live \
         nodes and survives the loss of half of them with probability {half}, of 90 % with \
         {ninety}, of 99 % with {ninety_nine}",
        number("agree"),
        number("neighbours"),
        number("copies_live"),
    );
    if live < members {
        words += &format!("; {} of {members} members are not heard", members - live);
    }
    words
}

/// Never 1 or 0 where it is not exactly that.
fn probability(p: f64) -> String {
    match p {
        _ if p >= 1.0 => "1".into(),
        0.999.. => "over 0.999".into(),
        _ if p <= 0.0 => "0".into(),
        ..0.001 => "under 0.001".into(),
        _ => format!("{p:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survival_is_what_the_copies_are_good_for() {
        let view = |members: usize, copies: usize, live: usize| {
            let view = MemoryView {
                members,
                copies,
                neighbours: 4,
                agree: 3,
                ..MemoryView::default()
            };
            memory(&view, live)
        };
        let large = view(30_000, 20, 30_000);
        let p = large["survival"]["loss_99"].as_f64().expect("a number");
        assert!((p - 0.182).abs() < 0.001, "{p}");
        let words = memory_words(&large);
        assert!(
            words.contains("on 20 of the 30000 live nodes and survives"),
            "{words}"
        );
        assert!(
            words.contains("half of them with probability over 0.999"),
            "{words}"
        );
        assert!(
            words.ends_with("of 90 % with 0.879, of 99 % with 0.182"),
            "{words}"
        );
        assert!(words.contains("agrees with 3 of 4 neighbours"), "{words}");
        let small = memory_words(&view(12, 12, 12));
        assert!(
            small.ends_with("of 99 % with 1"),
            "on all, one is enough: {small}"
        );
        assert!(memory_words(&view(1, 1, 1)).ends_with("no other node holds a copy"));
        let half = memory_words(&view(12, 12, 6));
        assert!(half.contains("on 6 of the 6 live nodes"), "{half}");
        assert!(half.ends_with("6 of 12 members are not heard"), "{half}");
        let last = memory_words(&view(7, 7, 1));
        assert!(
            last.ends_with("of 7 members only this one is heard"),
            "{last}"
        );
        assert_eq!(view(30_000, 20, 3_000)["copies_live"], 2);
    }
}
