//! Where a primary was, and when: how far behind in applying is the one that follows it?
//!
//! Replication tells how old the transaction is that is applied now; not how long the one takes that is committed now. Here
//! the positions of the one, as they were seen, are looked for in what the other has executed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::mysql::gtid::GtidSet;
use crate::pair::facts::Member;

/// So many positions are remembered.
const KEPT: usize = 128;

/// The newest positions of one server.
#[derive(Default)]
pub(super) struct Trail {
    server: String,
    seen: VecDeque<(Instant, GtidSet)>,
}

fn answered_at(member: &Member, now: Instant) -> Option<Instant> {
    now.checked_sub(Duration::from_millis(member.facts_age_ms))
}

impl Trail {
    /// Both as they were seen now: the age of the newest position of `from` that `to` has reached, when `to` answered.
    pub(super) fn behind_ms(&mut self, from: &Member, to: &Member, now: Instant) -> Option<u64> {
        let (source, follower) = (from.answer()?, to.answer()?);
        let (seen_at, reached_at) = (answered_at(from, now)?, answered_at(to, now)?);
        if self.server != source.server_uuid {
            (self.server, self.seen) = (source.server_uuid.clone(), VecDeque::new());
        }
        match self.seen.back_mut() {
            Some((at, last)) if *last == source.executed => *at = seen_at.max(*at),
            _ => self.seen.push_back((seen_at, source.executed.clone())),
        }
        let excess = self.seen.len().saturating_sub(KEPT);
        self.seen.drain(..excess);
        let newest = self.seen.iter().rposition(|(_, position)| follower.executed.contains(position))?;
        self.seen.drain(..newest);
        Some(reached_at.saturating_duration_since(self.seen.front()?.0).as_millis() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::facts::{Contact, Facts};

    fn member(executed: u64, age_ms: u64) -> Member {
        let executed = GtidSet::parse(&format!("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-{executed}")).expect("a set");
        Member { contact: Contact::Answering, facts: Some(Facts { server_uuid: "a".into(), executed, ..Facts::default() }), facts_age_ms: age_ms, ..Member::default() }
    }

    #[test]
    fn how_far_behind_is_known_from_the_positions_that_were_seen() {
        let (mut trail, begun) = (Trail::default(), Instant::now() + Duration::from_secs(10));
        let at = |ms: u64| begun + Duration::from_millis(ms);
        assert_eq!(trail.behind_ms(&member(100, 0), &member(60, 0), at(0)), None, "it has reached nothing that was seen");
        assert_eq!(trail.behind_ms(&member(110, 0), &member(90, 0), at(20)), None);
        assert_eq!(trail.behind_ms(&member(120, 0), &member(105, 0), at(40)), Some(40), "it has reached the first");
        assert_eq!(trail.behind_ms(&member(130, 0), &member(125, 0), at(60)), Some(20), "and the third");
        assert_eq!(trail.behind_ms(&member(130, 0), &member(130, 0), at(80)), Some(0), "both stand still");
        assert_eq!(trail.behind_ms(&member(130, 0), &member(130, 30), at(90)), Some(0), "its answer is older than the newest position");
        let mut other = member(500, 0);
        other.facts.as_mut().expect("facts").server_uuid = "b".into();
        assert_eq!(trail.behind_ms(&other, &member(130, 0), at(100)), None, "another primary: nothing is known of it");
    }
}
