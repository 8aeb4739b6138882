//! What is to be done for a plan now. Pure: the same facts and the same time give the same decision.
//!
//! Rules in order; the first that has something to say is the decision. Going back comes before going on. Of the shards, one at a
//! time is prepared, flipped, taken back and purged; all are dissolved together, since half a way back is none.

mod back;
mod forward;
mod start;
mod view;

use jiff::Timestamp;

use super::facts::{Observation, Plan};
use super::step::{Decision, Note, Reason, Step, Work};
use crate::api::expansion::Phase;
use view::View;

/// Clients get this long to read the map without the new shards, before their VIPs go. Milliseconds.
pub const GRACE_MS: i64 = 10_000;
/// At rest or while others work: looked at again this often, milliseconds.
const TICK_MS: u64 = 1_000;

/// What a rule says.
struct Said {
    steps: Vec<Step>,
    work: Vec<Work>,
    note: Note,
    again_ms: u64,
}

impl Said {
    fn wait(reason: Reason, message: impl Into<String>) -> Self {
        Self { steps: Vec::new(), work: Vec::new(), note: Note { reason, message: message.into() }, again_ms: TICK_MS }
    }

    fn go(reason: Reason, message: impl Into<String>, steps: Vec<Step>) -> Self {
        Self { steps, ..Self::wait(reason, message) }
    }

    fn work(mut self, work: Work) -> Self {
        self.work.push(work);
        self
    }

    fn again(mut self, ms: i64) -> Self {
        self.again_ms = ms.clamp(1, TICK_MS as i64) as u64;
        self
    }
}

/// Decides.
pub fn decide(plan: &Plan, seen: &Observation, now: Timestamp) -> Decision {
    let v = View { plan, seen, now };
    let said = rules(&v);
    let mut work = said.work;
    if said.note.reason != Reason::Paused {
        // As long as a shard is flipped, and nothing else is said of it.
        work.extend(plan.parents().filter(|s| v.is_flipped(*s)).map(Work::Audit));
    }
    Decision {
        steps: said.steps,
        work,
        note: said.note,
        beside: too_late(&v),
        phase: v.phase(),
        phases: plan.parents().map(|s| (s, v.reached(s))).collect(),
        again_ms: said.again_ms,
    }
}

fn rules(v: &View) -> Said {
    start::complete(v) // nothing more, ever
        .or_else(|| start::cluster_gone(v)) // nothing to do it on
        .or_else(|| start::nothing_left(v)) // deleted, and all is undone
        .or_else(|| start::paused(v)) // a person said so
        .or_else(|| start::admission(v)) // may it begin at all?
        .or_else(|| back::unflip(v)) // keys go back
        .or_else(|| back::undo(v)) // what was made goes
        .or_else(|| start::hold(v)) // from here on something is made
        .or_else(|| start::preflight(v)) // looks, touches nothing
        .or_else(|| forward::prepare(v)) // new pairs, guards, map
        .or_else(|| forward::misrouted(v)) // a hole in the guards: no further
        .or_else(|| forward::flip(v)) // keys move
        .or_else(|| forward::dissolve(v)) // the point of no return
        .or_else(|| forward::purge(v)) // foreign rows go
        .unwrap_or_else(|| approval(v))
}

/// As far as was asked.
fn approval(v: &View) -> Said {
    let message = match v.plan.until {
        Phase::Preflight => dry_run(v),
        Phase::Complete => "all is done".to_owned(),
        until => format!("{until:?}, as far as spec.until says: raise it to go on{}", if until < Phase::Dissolved { ", lower it to go back" } else { "" }),
    };
    Said::wait(if v.plan.until == Phase::Complete { Reason::Complete } else { Reason::Approval }, message)
}

fn dry_run(v: &View) -> String {
    let warnings = v.seen.preflight.as_ref().map_or(0, |p| p.findings.len());
    match warnings {
        0 => "nothing is in the way: raise spec.until to go on".to_owned(),
        n => format!("nothing forbids it; {n} warning(s) in status.findings: raise spec.until to go on"),
    }
}

fn too_late(v: &View) -> Option<Note> {
    let lowered = v.plan.deleting || v.plan.until < Phase::Dissolved;
    (v.past() && lowered && v.plan.phase != Some(Phase::Complete)).then(|| Note {
        reason: Reason::TooLate,
        message: if v.plan.deleting {
            "the plan can't be deleted now: links are dissolved, and each side deletes what is the other's. It goes when it is complete (spec.until: Complete)".to_owned()
        } else {
            format!(
                "spec.until can't be lowered to {:?}: links are dissolved, and both sides have written for themselves. Set it to Dissolved or Complete; fewer shards need a new cluster and a migration",
                v.plan.until
            )
        },
    })
}
