//! What runs beside a plan's runner: the preflight, the audit of binary logs, the purge. Each is a task with its own sessions; it ends
//! when the decision no longer asks for it, and with the runner. What it finds is told to the next pass.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::jobs;
use crate::api::expansion::Standbys;
use crate::controller::pair::Context;
use crate::expansion::facts::{Audit, Observation, Preflight, Purge};
use crate::expansion::step;
use crate::mysql::gtid::GtidSet;

/// A preflight older than this is done again before anything is made.
const FRESH: Duration = Duration::from_secs(60);
/// One that refused sooner: what was in the way may have been repaired.
const REFUSED: Duration = Duration::from_secs(15);
/// A job that ended is begun again after this.
const AGAIN: Duration = Duration::from_secs(3);
/// An audit also after so many times what the last one took: it reads a whole binary log.
const LEISURE: u32 = 10;

/// What jobs need to know of the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Errand {
    pub(super) plan: String,
    pub(super) to_shards: u32,
    pub(super) standbys: Standbys,
    pub(super) split_at: Vec<i64>,
    pub(super) max_standby_lag_ms: u64,
    pub(super) chunk_rows: u32,
    pub(super) generation: Option<i64>,
}

/// How far the audit of a shard has looked.
#[derive(Clone, Default)]
pub(super) struct Looked {
    /// Since this flip.
    pub(super) ceded: i64,
    /// By side.
    pub(super) until: BTreeMap<u32, GtidSet>,
    /// How long the last look took.
    pub(super) took: Duration,
}

/// What jobs have found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) preflight: Option<(Instant, Option<i64>, Result<Preflight, String>)>,
    pub(super) audits: BTreeMap<u32, Audit>,
    pub(super) looked: BTreeMap<u32, Looked>,
    pub(super) purges: BTreeMap<u32, Purge>,
}

/// Shared by a job and the runner.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) ctx: Arc<Context>,
    pub(super) namespace: String,
    pub(super) cluster: String,
    found: Arc<Mutex<Found>>,
    notify: Arc<Notify>,
}

impl Desk {
    /// Tells the runner.
    pub(super) fn tell(&self, change: impl FnOnce(&mut Found)) {
        change(&mut self.found.lock().expect("never poisoned"));
        self.notify.notify_one();
    }

    pub(super) fn ask<T>(&self, question: impl FnOnce(&Found) -> T) -> T {
        question(&self.found.lock().expect("never poisoned"))
    }
}

/// See the module.
pub(super) struct Work {
    desk: Desk,
    running: BTreeMap<step::Work, (JoinHandle<()>, Instant)>,
}

impl Work {
    pub(super) fn new(ctx: Arc<Context>, namespace: &str, cluster: &str, notify: Arc<Notify>) -> Self {
        let desk = Desk { ctx, namespace: namespace.to_owned(), cluster: cluster.to_owned(), found: Arc::default(), notify };
        Self { desk, running: BTreeMap::new() }
    }

    /// Ends what is no longer wanted, begins what is.
    pub(super) fn want(&mut self, wanted: &[step::Work], errand: &Errand) {
        self.running.retain(|work, (task, _)| {
            let keep = wanted.contains(work);
            if !keep {
                task.abort();
            }
            keep
        });
        for work in wanted {
            let again = match work {
                step::Work::Audit(shard) => self.desk.ask(|found| found.looked.get(shard).map_or(AGAIN, |l| AGAIN.max(l.took * LEISURE))),
                step::Work::Preflight | step::Work::Purge(_) => AGAIN,
            };
            let resting = self.running.get(work).is_some_and(|(task, begun)| !task.is_finished() || begun.elapsed() < again);
            if !resting {
                let task = tokio::spawn(jobs::run(self.desk.clone(), *work, errand.clone()));
                self.running.insert(*work, (task, Instant::now()));
            }
        }
    }

    /// What was found, into the observation.
    pub(super) fn results(&self, seen: &mut Observation, generation: Option<i64>) {
        self.desk.ask(|found| {
            if let Some((at, of, result)) = &found.preflight
                && at.elapsed() < if result.as_ref().is_ok_and(|p| p.refusals().next().is_some()) { REFUSED } else { FRESH }
                && *of == generation
            {
                seen.preflight = result.as_ref().ok().cloned();
                seen.preflight_error = result.as_ref().err().cloned();
            }
            seen.audits.clone_from(&found.audits);
            seen.purges.clone_from(&found.purges);
        });
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.running.values().for_each(|(task, _)| task.abort());
    }
}
