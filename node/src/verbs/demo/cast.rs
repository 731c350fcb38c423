//! Cast: who plays in the demo, where each stands, and who dies.

/// Sectors of a mesh that is large enough.
const SECTORS_MAX: usize = 3;
/// A mesh below this order parameter does not count as in phase.
pub const ORDER_MIN: f64 = 0.95;

/// A place in the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// The node's name.
    pub name: String,
    /// `orchestrator`, `coordinator`, `lead` or `agent`.
    pub role: &'static str,
    /// Its sector.
    pub sector: String,
    /// Its cluster.
    pub cluster: String,
}

fn seat(name: String, role: &'static str, sector: &str, cluster: &str) -> Seat {
    let (sector, cluster) = (sector.to_owned(), cluster.to_owned());
    Seat {
        name,
        role,
        sector,
        cluster,
    }
}

/// `count` seats, parents before their children: the operator, a coordinator and a lead for
/// each of up to three sectors, and the rest agents, dealt round. A sector takes at least
/// one agent; below four nodes there are only the operator and agents under it.
pub fn cast(count: usize) -> Vec<Seat> {
    let sectors = (count.saturating_sub(1) / 3).min(SECTORS_MAX);
    let names: Vec<String> = (1..=sectors.max(1)).map(|k| format!("s{k}")).collect();
    let mut seats = vec![seat("operator".into(), "orchestrator", "ops", "ops")];
    for sector in names.iter().take(sectors) {
        seats.push(seat(sector.clone(), "coordinator", sector, sector));
    }
    for sector in names.iter().take(sectors) {
        seats.push(seat(format!("{sector}-c1-lead"), "lead", sector, "c1"));
    }
    for at in 0..count.saturating_sub(seats.len()) {
        let sector = &names[at % names.len()];
        let number = at / names.len() + 1;
        seats.push(seat(
            format!("{sector}-c1-a{number}"),
            "agent",
            sector,
            "c1",
        ));
    }
    seats
}

/// Who is killed: the first lead, on whom others depend; without one the last seat.
pub fn victim<'s>(seats: impl ExactSizeIterator<Item = &'s Seat>) -> usize {
    let last = seats.len() - 1;
    let mut seats = seats;
    seats.position(|seat| seat.role == "lead").unwrap_or(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        cast(count).into_iter().map(|seat| seat.name).collect()
    }

    #[test]
    fn twelve_are_three_sectors_and_two_are_an_operator_and_an_agent() {
        assert_eq!(
            names(12),
            [
                "operator",
                "s1",
                "s2",
                "s3",
                "s1-c1-lead",
                "s2-c1-lead",
                "s3-c1-lead",
                "s1-c1-a1",
                "s2-c1-a1",
                "s3-c1-a1",
                "s1-c1-a2",
                "s2-c1-a2",
            ]
        );
        assert_eq!(names(2), ["operator", "s1-c1-a1"]);
        assert_eq!(names(6)[..3], ["operator", "s1", "s1-c1-lead"]);
    }

    #[test]
    fn every_size_has_its_count_and_a_victim_who_is_not_the_operator() {
        for count in 2..=60 {
            let seats = cast(count);
            assert_eq!(seats.len(), count);
            let victim = &seats[victim(seats.iter())];
            assert_eq!(
                victim.name,
                if count < 4 {
                    seats[count - 1].name.as_str()
                } else {
                    "s1-c1-lead"
                }
            );
        }
    }
}
