//! Reads a member's counters at leisure, in a session of its own, for metrics. Its failures mean nothing to anybody: a probe
//! that is late counts as silence, so nothing that may be late is asked in the prober's session.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::leader::Leadership;
use super::prober::Target;
use crate::mysql::session::Session;
use crate::mysql::status::{self, Disk, Status};

/// Counters are read this often …
pub const EVERY: Duration = Duration::from_secs(10);
/// … and the sizes of files this often.
const DISK_EVERY: Duration = Duration::from_secs(60);
/// An answer later than this isn't waited for: the session is closed.
const DEADLINE: Duration = Duration::from_secs(2);

/// What was read last.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// In the order of `status::VALUES`; empty: nothing yet.
    pub status: Status,
    /// Sizes of files.
    pub disk: Option<Disk>,
}

/// What measuring needs to know of the prober.
pub struct Watched {
    /// The member's name, for errors.
    pub member: String,
    /// Where it is.
    pub target: watch::Receiver<Target>,
    /// Does this process lead?
    pub leadership: Leadership,
    /// The member answers, older sessions were ended, and no commit waits.
    pub quiet: Box<dyn Fn() -> bool + Send + Sync>,
    /// Takes the id of this task's session, so that it isn't ended as an older one.
    pub session: Box<dyn Fn(Option<u32>) + Send + Sync>,
    /// Where the results go.
    pub out: Arc<Mutex<Measured>>,
}

/// Until the task is aborted. Each time in a new session: one that is kept costs the operator 20 kB all the time, and there is one a member.
pub async fn run(watched: Watched) {
    let mut disk_at: Option<Instant> = None;
    let mut first = true;
    loop {
        // Soon after the start, so that a scrape needn't wait for the first values.
        tokio::time::sleep(if first { EVERY / 10 } else { EVERY }).await;
        if !(watched.quiet)() || !watched.leadership.holds() {
            continue;
        }
        let aim = watched.target.borrow().clone();
        let Some(mut asking) = connect(&watched, &aim).await else { continue };
        (watched.session)(Some(asking.id()));
        first = false;
        if let Ok(read) = status::read(&mut asking, DEADLINE).await {
            let due = disk_at.is_none_or(|at| at.elapsed() >= DISK_EVERY) && (watched.quiet)();
            let disk = if due { status::disk(&mut asking, DEADLINE).await.ok() } else { None };
            if disk.is_some() {
                disk_at = Some(Instant::now());
            }
            let mut out = watched.out.lock().expect("never poisoned");
            out.status = read;
            out.disk = disk.or(out.disk);
        }
        asking.close().await;
        (watched.session)(None);
    }
}

async fn connect(watched: &Watched, aim: &Target) -> Option<Session> {
    let session = Session::connect(aim.at.as_ref()?, &aim.credentials, DEADLINE).await.ok()?;
    // Invariant 7: leadership is checked after connecting.
    watched.leadership.holds().then_some(session)
}
