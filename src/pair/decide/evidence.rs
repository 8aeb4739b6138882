//! Is the primary gone? Evidence, not time alone. Pure.
//!
//! A broken connection to a dead process comes at once, and the standby's receiver sees the same: two witnesses, in
//! milliseconds. Silence needs missed answers by the operator *and* by the standby. A write that stays while nothing is
//! left to acknowledge (full disk, hung fsync) is evidence alone. Operator blind but standby still receiving: not gone.

use super::standby::receives;
use super::{FRESH_MS, Identity, View, identity};
use crate::pair::facts::{Contact, Facts, Member, ReceiverState};
use crate::pair::step::Reason;

/// A broken connection without a refused new one counts after this time, milliseconds.
const BROKEN_MS: u64 = 150;
/// A write that gets stuck counts as evidence after this many times `detectAfter`, and after …
const STUCK_FACTOR: u64 = 3;
/// … this long at least, milliseconds: a busy disk may take seconds for a sync, and a failover to a twin wouldn't help.
const STUCK_MS: u64 = 4_000;

/// What the evidence says of the recorded primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answers, or nothing speaks against it.
    Alive,
    /// Something is wrong with it, and it isn't known to be gone.
    Doubt(Reason),
    /// Gone.
    Gone(Reason),
}

/// Judges the recorded primary.
pub fn judge_primary(view: &View) -> Verdict {
    let Some(primary) = view.primary() else { return Verdict::Doubt(Reason::AwaitingEvidence) };
    if identity(view.record, primary, &view.record.primary) == Identity::OtherVolume {
        return Verdict::Gone(Reason::VolumeLost);
    }
    match &primary.contact {
        Contact::Never => Verdict::Doubt(Reason::AwaitingEvidence),
        Contact::Refused(_) => Verdict::Doubt(Reason::CredentialsRefused),
        Contact::Broken { for_ms, refused } => broken(view, *for_ms, *refused),
        Contact::Silent { for_ms } => silent(view, *for_ms),
        Contact::Answering => stuck(view, primary),
    }
}

/// The standby's answer, if it was given after the primary's trouble began.
fn witness<'a>(view: &View<'a>, trouble_ms: u64) -> Option<&'a Facts> {
    let (name, standby) = view.standby()?;
    if standby.facts_age_ms > trouble_ms.min(FRESH_MS) {
        return None;
    }
    view.answer(name)
}

/// Does the standby hear the primary, as far as it can tell now?
pub(super) fn hears_now(view: &View, standby: &Facts) -> bool {
    receives(view, standby) && !silent_there(view, standby)
}

/// Can the standby say anything of the primary? Not with a receiver that is stopped, or just started and still trying.
fn testifies(standby: &Facts) -> bool {
    standby.channel.as_ref().is_none_or(|c| match c.receiver {
        ReceiverState::On => true,
        ReceiverState::Connecting => c.silent_ms.is_some() || !c.receiver_error.is_empty(),
        ReceiverState::Off => false,
    })
}

fn broken(view: &View, for_ms: u64, refused: bool) -> Verdict {
    match witness(view, for_ms) {
        None => Verdict::Doubt(Reason::AwaitingEvidence),
        Some(standby) if !receives(view, standby) && refused => Verdict::Gone(Reason::ProcessGone),
        Some(standby) if !receives(view, standby) && testifies(standby) && for_ms >= BROKEN_MS => Verdict::Gone(Reason::ProcessGone),
        Some(standby) if !receives(view, standby) => Verdict::Doubt(Reason::AwaitingEvidence),
        // Its receiver may not have noticed yet; a hung host never sends it anything: silence counts then.
        Some(standby) if for_ms >= view.settings.detect_after_ms && silent_there(view, standby) => {
            Verdict::Gone(Reason::Silent)
        }
        Some(_) if for_ms < view.settings.detect_after_ms => Verdict::Doubt(Reason::AwaitingEvidence),
        Some(_) => Verdict::Doubt(Reason::OperatorBlind),
    }
}

fn silent_there(view: &View, standby: &Facts) -> bool {
    let silent_ms = standby.channel.as_ref().and_then(|c| c.silent_ms);
    silent_ms.is_none_or(|ms| ms >= view.settings.detect_after_ms)
}

fn silent(view: &View, for_ms: u64) -> Verdict {
    if for_ms < view.settings.detect_after_ms {
        return if for_ms > view.settings.detect_after_ms / 2 {
            Verdict::Doubt(Reason::AwaitingEvidence)
        } else {
            Verdict::Alive
        };
    }
    match witness(view, for_ms) {
        None => Verdict::Doubt(Reason::AwaitingEvidence),
        Some(standby) if !testifies(standby) => Verdict::Doubt(Reason::AwaitingEvidence),
        Some(standby) if !receives(view, standby) || silent_there(view, standby) => Verdict::Gone(Reason::Silent),
        Some(_) => Verdict::Doubt(Reason::OperatorBlind),
    }
}

fn stuck(view: &View, primary: &Member) -> Verdict {
    let limit_ms = STUCK_MS.max(STUCK_FACTOR * view.settings.detect_after_ms);
    let Some(facts) = view.primary_answer() else { return Verdict::Alive };
    let refuses = primary.beat.failing.as_ref().is_some_and(|(_, ms)| *ms >= limit_ms);
    let hangs = primary.beat.pending_ms.is_some_and(|ms| ms >= limit_ms);
    if facts.super_read_only || !(hangs || refuses) {
        return Verdict::Alive;
    }
    if primary.beat.held_by_lock {
        return Verdict::Doubt(Reason::HeldByLock);
    }
    // Commits that wait for the standby are the standby's trouble, not the primary's.
    if facts.source.waiting > 0 {
        return Verdict::Alive;
    }
    Verdict::Gone(Reason::WriteStuck)
}
