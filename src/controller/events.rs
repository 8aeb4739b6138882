//! An event as it is published.
//!
//! kube's recorder takes events of one type, action and reason for a series, and keeps the first one's note (seen in its code): "shard 1
//! flipped" would be counted into "shard 0 flipped". So the action names the note, too.

use kube::runtime::events::{Event, EventType};

use crate::routing::key::fingerprint;

/// Kubernetes takes no note of more than 1 kB.
const NOTE: usize = 1_000;

/// An event whose note is told, also when another one of the same reason was told a moment ago.
pub(super) fn event(warning: bool, reason: &str, note: &str) -> Event {
    let end = (0..=NOTE.min(note.len())).rev().find(|at| note.is_char_boundary(*at)).unwrap_or(0);
    let note = note[..end].to_owned();
    let action = format!("{reason}-{:08x}", fingerprint(&note) as u32);
    let type_ = if warning { EventType::Warning } else { EventType::Normal };
    Event { type_, reason: reason.to_owned(), note: Some(note), action, secondary: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_one_reason_with_other_notes_are_no_series() {
        let [zero, one, again] = [0, 1, 0].map(|n| event(false, "Flipped", &format!("shard {n}")));
        assert_ne!(zero.action, one.action);
        assert_eq!(zero.action, again.action);
        assert_eq!(event(true, "X", &format!("x{}", "é".repeat(2_000))).note.map(|n| n.len()), Some(999));
    }
}
