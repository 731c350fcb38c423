//! Throttle of log lines: what others could make us log without end is said once, and then with a count.

use std::collections::BTreeMap;

use chorus_protocol::ids::NodeId;
use chorus_protocol::units::Micros;

/// Between two lines about the same node.
const EVERY: Micros = Micros::from_secs(600);

/// Since when each node was not spoken of, and how often it gave reason to since then. The
/// caller sees to it that the nodes are of a bounded set.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle {
    said: BTreeMap<NodeId, (Micros, u64)>,
}

impl LogThrottle {
    /// It happened once more: `Some(times)` since the last line, when a line is due.
    pub(crate) fn is_due(&mut self, node: NodeId, now: Micros) -> Option<u64> {
        let Some((at, times)) = self.said.get_mut(&node) else {
            self.said.insert(node, (now, 0));
            return Some(1);
        };
        *times += 1;
        if now < *at + EVERY {
            return None;
        }
        *at = now;
        Some(std::mem::take(times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_comes_each_second_is_said_once_and_then_every_ten_minutes_with_a_count() {
        let (a, b) = (NodeId([1; 32]), NodeId([2; 32]));
        let mut throttle = LogThrottle::default();
        let said = (0..=1_300).filter_map(|s| throttle.is_due(a, Micros::from_secs(s)));
        assert_eq!(said.collect::<Vec<_>>(), [1, 600, 600]);
        assert_eq!(throttle.is_due(b, Micros::from_secs(5)), Some(1));
    }
}
