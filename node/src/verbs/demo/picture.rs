//! Picture: the mesh as a tree with a bar for how well each part keeps time.

use std::fmt::Write as _;

use serde_json::Value;

use super::cast::Seat;

/// Cells of a full bar.
const BAR: usize = 20;
/// Columns up to the role.
const NAME: usize = 20;

/// The tree: operator, sectors, leads, agents. `statuses` are the seats' own, in order.
pub fn draw(seats: &[&Seat], statuses: &[Value], killed: &str) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    if let Some(top) = statuses.first() {
        let _ = writeln!(
            out,
            "{} of {} nodes live, {}\n",
            top["phase"]["live"],
            seats.len(),
            top["mode"].as_str().unwrap_or("-")
        );
    }
    let line = |out: &mut String, branch: &str, at: usize, order: &str| {
        let (seat, phase) = (seats[at], &statuses[at]["phase"]);
        let width = NAME.saturating_sub(branch.chars().count());
        let mark = if seat.name == killed {
            "  ← was killed"
        } else {
            ""
        };
        let bar = phase[order].as_f64().map_or_else(
            || {
                phase["theta"]
                    .as_f64()
                    .map_or(String::new(), |theta| format!("θ {theta:.2}"))
            },
            |r| format!("r {r:.3} {}", bar(r)),
        );
        let text = format!(
            "{branch}{:<width$} {:<12} {bar}{mark}",
            seat.name, seat.role
        );
        let _ = writeln!(out, "{}", text.trim_end());
    };
    line(&mut out, "", 0, "order");
    let below = |role: &str, sector: Option<&str>| -> Vec<usize> {
        let stands = |seat: &Seat| seat.role == role && sector.is_none_or(|s| seat.sector == s);
        (0..seats.len()).filter(|at| stands(seats[*at])).collect()
    };
    let coordinators = below("coordinator", None);
    for (k, at) in coordinators.iter().enumerate() {
        let last = k + 1 == coordinators.len();
        let (branch, rail) = if last {
            ("└─ ", "   ")
        } else {
            ("├─ ", "│  ")
        };
        line(&mut out, branch, *at, "order_sector");
        let sector = seats[*at].sector.as_str();
        for lead in below("lead", Some(sector)) {
            line(&mut out, &format!("{rail}└─ "), lead, "order_cluster");
        }
        twigs(
            &mut out,
            &format!("{rail}   "),
            &below("agent", Some(sector)),
            line,
        );
    }
    if coordinators.is_empty() {
        twigs(&mut out, "", &below("agent", None), line);
    }
    out.truncate(out.trim_end().len());
    out
}

/// Leaves, of which only the phase is shown.
fn twigs(
    out: &mut String,
    rail: &str,
    leaves: &[usize],
    line: impl Fn(&mut String, &str, usize, &str),
) {
    for (k, at) in leaves.iter().enumerate() {
        let branch = if k + 1 == leaves.len() {
            "└─ "
        } else {
            "├─ "
        };
        line(out, &format!("{rail}{branch}"), *at, "none");
    }
}

/// `r` in [0, 1] as a bar.
fn bar(r: f64) -> String {
    let full = (r.clamp(0.0, 1.0) * BAR as f64).round() as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(BAR - full))
}

#[cfg(test)]
mod tests {
    use super::super::cast::cast;
    use super::*;
    use serde_json::json;

    #[test]
    fn everybody_stands_in_the_picture_once_and_the_dead_one_is_marked() {
        let seats = cast(7);
        let status = json!({
            "mode": "FULL",
            "phase": {"live": 7, "theta": 1.0, "order": 1.0, "order_sector": 0.5, "order_cluster": 0.0}
        });
        let statuses = vec![status; 7];
        let drawn = draw(&seats.iter().collect::<Vec<_>>(), &statuses, "s1-c1-lead");
        assert_eq!(drawn.lines().count(), 2 + 7, "{drawn}");
        for seat in &seats {
            let lines = drawn
                .lines()
                .filter(|line| line.split_whitespace().any(|word| word == seat.name));
            assert_eq!(lines.count(), 1, "{}", seat.name);
        }
        assert_eq!(drawn.matches("was killed").count(), 1);
        assert!(drawn.contains(&bar(0.5)));
    }

    #[test]
    fn a_bar_is_as_long_as_its_number() {
        let full = |r| bar(r).matches('█').count();
        assert_eq!(
            [full(0.0), full(0.5), full(1.0), full(7.0)],
            [0, 10, 20, 20]
        );
    }
}
