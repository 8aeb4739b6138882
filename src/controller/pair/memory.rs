//! What a runner remembers between passes: nothing that a decision rests on. It ages facts, and keeps from saying a thing twice.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::mysql::session::Credentials;
use crate::pair::step::Reason;

#[derive(Default)]
pub(super) struct Memory {
    pub(super) not_serving: HashMap<String, Instant>,
    pub(super) vip: Option<(Instant, String)>,
    pub(super) trouble: Option<Instant>,
    pub(super) soon_since: Option<Instant>,
    pub(super) said: Option<(Reason, String)>,
    pub(super) told: Option<Instant>,
    pub(super) measured: Option<Instant>,
    pub(super) unpublished_move: bool,
    pub(super) clones: Attempts,
    /// Since when a member's Service should lead elsewhere.
    pub(super) addresses: HashMap<String, Instant>,
    /// From the first sign of trouble to the slice, of a move whose status doesn't say so yet.
    pub(super) gap: Option<Duration>,
    pub(super) surprises: u32,
    /// When our last step ended: what a member said before is old.
    pub(super) acted: Option<Instant>,
    /// A comparison of rows that waits for its member to catch up: member, primary and epoch.
    pub(super) comparison: Option<((String, String, i64), crate::mysql::rewind::check::Look)>,
    pub(super) busy_since: Option<Instant>,
    /// Why the last try of a flip, or of the way back, was undone.
    pub(super) undone: Option<String>,
    /// Where the primary was lately: how far is the other side of a split behind it?
    pub(super) trail: super::trail::Trail,
    /// How long the keys that move paused, at the last flip or way back, and which flip that was.
    pub(super) pause: Option<Duration>,
    pub(super) paused_at: Option<i64>,
    /// The pair whose turn of a rollout we wait for, and when it was found.
    pub(super) turn_of: Option<(String, Instant)>,
    /// The application's Secret, as read last: its version and account.
    pub(super) app: Option<(String, Credentials)>,
}

/// CLONE drops data before it copies: attempts that fail come at growing distances, 2 s to 5 min.
#[derive(Clone, Default)]
pub(super) struct Attempts(Arc<std::sync::Mutex<(u32, Option<Instant>)>>);

impl Attempts {
    pub(super) fn too_soon(&self) -> bool {
        let (failures, last) = *self.0.lock().expect("never poisoned");
        let distance = Duration::from_secs(1 << failures.min(8)).min(Duration::from_secs(300));
        last.is_some_and(|at| at.elapsed() < distance)
    }

    pub(super) fn begin(&self) {
        let mut attempts = self.0.lock().expect("never poisoned");
        *attempts = (attempts.0 + 1, Some(Instant::now()));
    }

    pub(super) fn succeeded(&self) {
        self.0.lock().expect("never poisoned").0 = 0;
    }
}
