//! Back-off: how seldom a node that was shut out tries each of the others again. Only that
//! another enroller takes it in can change anything, so it waits twice as long each time.

use std::collections::BTreeMap;

use chorus_protocol::ids::NodeId;
use chorus_protocol::units::Micros;

/// The first pause.
const FIRST: Micros = Micros::from_secs(10);
/// The longest.
const LONGEST: Micros = Micros::from_secs(300);

/// When each node may be tried again, and the pause after that. As many rows as the roster
/// has members at most.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    next: BTreeMap<NodeId, (Micros, Micros)>,
}

impl Backoff {
    /// Whether `node` may be tried `now`; if so the next pause begins.
    pub(super) fn is_over(&mut self, node: NodeId, now: Micros) -> bool {
        let (at, pause) = self.next.entry(node).or_insert((now, FIRST));
        if now < *at {
            return false;
        }
        *at = now + *pause;
        *pause = Micros(pause.0.saturating_mul(2)).min(LONGEST);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_five_minutes_for_each_node_by_itself() {
        let (a, b) = (NodeId([1; 32]), NodeId([2; 32]));
        let mut backoff = Backoff::default();
        let tries = (0..1_810).filter(|s| backoff.is_over(a, Micros::from_secs(*s)));
        let tries: Vec<u64> = tries.collect();
        assert_eq!(tries, [0, 10, 30, 70, 150, 310, 610, 910, 1210, 1510]);
        assert!(backoff.is_over(b, Micros::from_secs(1_700)));
    }
}
