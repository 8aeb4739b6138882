//! One prober per member: keeps connections, asks twice a second, notices a broken connection at once.
//!
//! It gathers and judges nothing: [`Prober::snapshot`] gives what is known with its age; `measure` reads counters beside it. Invariant 7: at the first contact
//! in a term it ends all older sessions of the operator's account on the member, and leadership is checked after connecting.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use k8s_openapi::api::core::v1::Pod;

use crate::api::names;
use crate::controller::leader::Leadership;
use crate::controller::measure::{self, Measured, Watched};
use crate::mysql::error::Error;
use crate::mysql::heartbeat::{self, Outcome};
use crate::mysql::session::{self, Credentials, Endpoint, Session};
use crate::mysql::{facts, sessions};
use crate::pair::facts::{Beat, Contact, Facts, Member};

/// At rest a member is asked, and the primary's heartbeat written, this often.
pub const TICK: Duration = Duration::from_millis(500);
/// A connection must be made within this.
const CONNECT: Duration = Duration::from_millis(1_000);
/// An answer later than this counts as silence (counted from the last answer), and …
const LATE: Duration = Duration::from_millis(300);
/// … a probe that took this long is given up, with its session.
const GIVE_UP: Duration = Duration::from_millis(2_000);
/// A heartbeat write may wait for its acknowledgement as long as it takes.
const BEAT: Duration = Duration::from_secs(24 * 3600);

/// Sessions to keep beside its own, at most.
const KEPT: usize = 8;

/// Where to probe, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The member's server; None: there is no pod, or it has no address.
    pub at: Option<Endpoint>,
    /// uid of the pod, so that a new pod at an old address is noticed.
    pub pod_uid: String,
    /// The operator's account.
    pub credentials: Credentials,
    /// Write the heartbeat row with this epoch: the member is the open primary.
    pub beat: Option<i64>,
    /// What is asked of it, and whose heartbeat row is written.
    pub asked: facts::Asked,
}

impl Target {
    /// Is it the same server, for the same account? (What the member is, primary or not, may differ.)
    pub fn same_server(&self, other: &Self) -> bool {
        self.at == other.at && self.pod_uid == other.pod_uid && self.credentials == other.credentials
    }
}

/// Where a member's pod lets the operator in: MySQL's administrative interface, if it has one. None: it has no address.
pub fn endpoint(member: &str, pod: &Pod) -> Option<Endpoint> {
    let host = pod.status.as_ref()?.pod_ip.clone()?;
    let mut ports = pod.spec.iter().flat_map(|spec| &spec.containers).flat_map(|container| container.ports.iter().flatten());
    let admin = ports.any(|port| port.name.as_deref() == Some(names::ADMIN));
    Some(Endpoint { member: member.to_owned(), host, port: (if admin { names::ADMIN_PORT } else { names::PORT }) as u16 })
}

#[derive(Default)]
struct State {
    contact: Status,
    first_try: Option<Instant>,
    last_answer: Option<Instant>,
    asked: Option<Instant>,
    /// When the last answer's question was put.
    question: Option<Instant>,
    facts: Option<Facts>,
    own_sessions: Vec<u32>,
    kept: Vec<u32>,
    beat_since: Option<Instant>,
    beat_failing: Option<(String, Instant)>,
    beat_held: bool,
    beat_session: Option<u32>,
    measuring: Option<u32>,
}

#[derive(Default, Clone)]
enum Status {
    #[default]
    Never,
    Fine,
    Broken { since: Instant, refused: bool },
    NoAnswer,
    Denied(String),
}

struct Shared {
    member: String,
    state: Mutex<State>,
    target: watch::Receiver<Target>,
    poke: Notify,
    changed: Arc<Notify>,
    leadership: Leadership,
}

/// A member's prober; its tasks end with it.
pub struct Prober {
    shared: Arc<Shared>,
    target: watch::Sender<Target>,
    tasks: [JoinHandle<()>; 3],
    measured: Arc<Mutex<Measured>>,
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Prober {
    /// Begins to probe; `changed` is told when something is new that matters.
    pub fn start(member: String, target: Target, changed: Arc<Notify>, leadership: Leadership) -> Self {
        let (sender, receiver) = watch::channel(target);
        let shared = Arc::new(Shared { member, state: Mutex::default(), target: receiver, poke: Notify::new(), changed, leadership });
        let measured = Arc::default();
        let watched = watched(&shared, &measured);
        let tasks = [tokio::spawn(probe(shared.clone())), tokio::spawn(beat(shared.clone())), tokio::spawn(measure::run(watched))];
        Self { shared, target: sender, tasks, measured }
    }

    /// New address, password or role.
    pub fn aim(&self, target: Target) {
        self.target.send_if_modified(|old| {
            let new = *old != target;
            *old = target;
            new
        });
    }

    /// Asks now and waits for the answer, `limit` at most and while the member answers at all. The answer to a question that
    /// is under way already isn't it.
    pub async fn refresh(&self, limit: Duration) {
        let begun = Instant::now();
        let answers = |state: &mut State| matches!(state.contact, Status::Fine) && state.asked.is_none_or(|asked| asked.elapsed() <= LATE);
        self.shared.poke.notify_one();
        while begun.elapsed() < limit && !self.asked_since(begun) && self.shared.with(answers) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Was the last answer's question put after this moment?
    pub fn asked_since(&self, moment: Instant) -> bool {
        self.shared.with(|state| state.question.is_some_and(|put| put >= moment))
    }

    /// A session for somebody else, on the server that is probed: not ended as an older one.
    pub async fn connect(&self) -> Result<Session, Error> {
        let target = self.target.borrow().clone();
        let session = self.shared.connect(&target).await?;
        self.keep(session.id());
        Ok(session)
    }

    /// A session of this operator's that isn't the prober's: not to be ended as an older one.
    pub fn keep(&self, id: u32) {
        self.shared.with(|state| {
            state.kept.retain(|known| *known != id);
            state.kept.push(id);
            let excess = state.kept.len().saturating_sub(KEPT);
            state.kept.drain(..excess);
        });
    }

    /// Does the member refuse our password?
    pub fn denied(&self) -> bool {
        self.shared.with(|state| matches!(state.contact, Status::Denied(_)))
    }

    /// Something of the last answer.
    pub fn last<T>(&self, look: impl FnOnce(&Facts) -> T) -> Option<T> {
        self.shared.with(|state| state.facts.as_ref().map(look))
    }

    /// The member's counters, while it answers.
    pub fn measured(&self) -> Measured {
        let fine = self.shared.with(|state| matches!(state.contact, Status::Fine));
        if fine { self.measured.lock().expect("never poisoned").clone() } else { Measured::default() }
    }

    /// What is known now, put into `member`.
    pub fn snapshot(&self, member: &mut Member) {
        let state = self.shared.state.lock().expect("never poisoned");
        let now = Instant::now();
        let ms = |since: Instant| now.saturating_duration_since(since).as_millis() as u64;
        member.facts = state.facts.clone();
        member.facts_age_ms = state.last_answer.map_or(u64::MAX, ms);
        let silence_ms = state.last_answer.or(state.first_try).map_or(0, ms);
        let late = state.asked.is_some_and(|asked| now.saturating_duration_since(asked) > LATE);
        member.contact = match &state.contact {
            Status::Never if late => Contact::Silent { for_ms: silence_ms },
            Status::Never => Contact::Never,
            Status::Denied(error) => Contact::Refused(error.clone()),
            Status::Broken { since, refused } => Contact::Broken { for_ms: ms(*since), refused: *refused },
            Status::NoAnswer => Contact::Silent { for_ms: silence_ms },
            Status::Fine if late => Contact::Silent { for_ms: silence_ms },
            Status::Fine => Contact::Answering,
        };
        member.beat = Beat {
            pending_ms: state.beat_since.map(ms),
            held_by_lock: state.beat_held,
            failing: state.beat_failing.as_ref().map(|(error, since)| (error.clone(), ms(*since))),
        };
    }
}

impl Shared {
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().expect("never poisoned"))
    }

    /// Connects, then checks that this process still leads: a command decided by a deposed operator is never sent.
    async fn connect(&self, target: &Target) -> Result<Session, Error> {
        let Some(endpoint) = &target.at else {
            return Err(Error::Refused { member: self.member.clone(), address: "no pod".to_owned() });
        };
        let session = Session::connect(endpoint, &target.credentials, CONNECT).await?;
        if self.leadership.holds() {
            return Ok(session);
        }
        Err(Error::Malformed { member: self.member.clone(), doing: "connecting".to_owned(), why: "this operator doesn't lead".to_owned() })
    }

    fn failed(&self, error: &Error) {
        self.with(|state| {
            state.asked = None;
            state.own_sessions.clear();
            let now = Instant::now();
            state.contact = match (error, state.contact.clone()) {
                (Error::Denied { .. }, _) => Status::Denied(error.to_string()),
                (Error::NoAnswer { .. }, Status::Broken { since, refused }) => Status::Broken { since, refused },
                (Error::NoAnswer { .. }, _) => Status::NoAnswer,
                (Error::Refused { .. }, Status::Broken { since, .. }) => Status::Broken { since, refused: true },
                (Error::Refused { .. }, _) => Status::Broken { since: now, refused: true },
                (_, Status::Broken { since, refused }) => Status::Broken { since, refused },
                (_, _) => Status::Broken { since: now, refused: false },
            };
        });
        self.changed.notify_one();
    }

    fn answered(&self, facts: Facts) {
        let news = self.with(|state| {
            let news = !matches!(state.contact, Status::Fine) || state.facts.as_ref().is_none_or(|old| differs(old, &facts));
            state.contact = Status::Fine;
            state.question = state.asked.take();
            state.last_answer = Some(Instant::now());
            state.facts = Some(facts);
            news
        });
        if news {
            self.changed.notify_one();
        }
    }
}

/// Measuring goes on only beside a prober that has ended the older sessions, and when no commit waits.
fn watched(shared: &Arc<Shared>, out: &Arc<Mutex<Measured>>) -> Watched {
    let (asked, told) = (shared.clone(), shared.clone());
    let quiet = move |state: &mut State| matches!(state.contact, Status::Fine) && !state.own_sessions.is_empty() && state.facts.as_ref().is_some_and(|f| f.source.waiting == 0);
    Watched {
        member: shared.member.clone(),
        target: shared.target.clone(),
        leadership: shared.leadership.clone(),
        quiet: Box::new(move || asked.with(quiet)),
        session: Box::new(move |id| told.with(|state| state.measuring = id)),
        out: out.clone(),
    }
}

/// Something that a decision may follow from, beside the positions that move all the time.
fn differs(old: &Facts, new: &Facts) -> bool {
    let still = |f: &Facts| {
        let c = f.channel.as_ref();
        (f.process.clone(), f.super_read_only, f.offline_mode, f.source.enabled, f.source.clients, f.rebuild_marker, f.rewound, f.cloning.is_some(), f.replica_enabled, f.events_disabled, f.guard.clone(), c.map(|c| (c.receiver, c.applier_running, c.applier_error.clone())))
    };
    still(old) != still(new)
}

/// Waits before the next attempt to connect: quick at first, since a process may be back in a second.
fn pause(failures: u32) -> Duration {
    Duration::from_millis([10, 20, 50, 100, 200, 500][failures.min(5) as usize])
}

async fn probe(shared: Arc<Shared>) {
    let mut failures = 0;
    let mut target = shared.target.clone();
    loop {
        let aim = target.borrow_and_update().clone();
        shared.with(|state| {
            state.first_try.get_or_insert_with(Instant::now);
            state.asked.get_or_insert_with(Instant::now);
        });
        match converse(&shared, &aim, &mut failures).await {
            Ok(()) => failures = 0,
            Err(error) => {
                tracing::debug!(member = shared.member, %error, "probe");
                shared.failed(&error);
                failures += 1;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause(failures)) => {}
            _ = target.changed() => failures = 0,
        }
    }
}

/// One connection's life: older sessions ended, then question and answer until it breaks or the aim changes.
async fn converse(shared: &Shared, aim: &Target, failures: &mut u32) -> Result<(), Error> {
    let mut asking = shared.connect(aim).await?;
    let keep = shared.with(|state| state.kept.iter().copied().chain(state.beat_session).chain(state.measuring).chain([asking.id()]).collect::<Vec<u32>>());
    sessions::end_older_sessions(&mut asking, &aim.credentials.user, &keep, CONNECT).await?;
    let watching = shared.connect(aim).await?;
    shared.with(|state| state.own_sessions = vec![asking.id(), watching.id()]);
    let mut broken = std::pin::pin!(session::watch(watching));
    let mut target = shared.target.clone();
    target.mark_unchanged();
    loop {
        shared.with(|state| state.asked = Some(Instant::now()));
        let asked = target.borrow().asked;
        let seen = tokio::select! {
            error = &mut broken => return Err(error),
            seen = facts::ask(&mut asking, asked, GIVE_UP) => seen?,
        };
        *failures = 0;
        shared.answered(seen);
        look_at_beat(shared, &mut asking).await?;
        tokio::select! {
            error = &mut broken => return Err(error),
            () = shared.poke.notified() => {}
            () = tokio::time::sleep(TICK) => {}
            _ = target.changed() => {
                if !target.borrow().same_server(aim) {
                    return Ok(());
                }
            }
        }
        if !shared.leadership.holds() {
            return Err(Error::Malformed { member: shared.member.clone(), doing: "probing".to_owned(), why: "this operator doesn't lead".to_owned() });
        }
    }
}

/// Why does the heartbeat's write take so long?
async fn look_at_beat(shared: &Shared, asking: &mut Session) -> Result<(), Error> {
    let stuck = shared.with(|state| state.beat_since.filter(|since| since.elapsed() > TICK).and(state.beat_session));
    if let Some(id) = stuck {
        let lock = sessions::waits_for_lock(asking, id, GIVE_UP).await?;
        shared.with(|state| state.beat_held = lock.is_some());
    }
    Ok(())
}

/// Writes the heartbeat row as long as the member is the open primary.
async fn beat(shared: Arc<Shared>) {
    let mut target = shared.target.clone();
    let mut session: Option<(Session, Target)> = None;
    loop {
        let aim = target.borrow_and_update().clone();
        let Some(epoch) = aim.beat.filter(|_| shared.leadership.holds()) else {
            session = None;
            shared.with(|state| (state.beat_since, state.beat_failing, state.beat_held, state.beat_session) = (None, None, false, None));
            let _ = tokio::time::timeout(TICK, target.changed()).await;
            continue;
        };
        let same = session.as_ref().is_some_and(|(s, at)| s.is_usable() && at.same_server(&aim));
        if !same {
            session = None;
            // Only beside a prober that has ended the older sessions first.
            if shared.with(|state| matches!(state.contact, Status::Fine) && !state.own_sessions.is_empty()) {
                session = shared.connect(&aim).await.ok().map(|s| (s, aim.clone()));
            }
            shared.with(|state| state.beat_session = session.as_ref().map(|(s, _)| s.id()));
        }
        if let Some((session, _)) = &mut session {
            write_beat(&shared, session, (aim.asked.row, epoch), &mut target).await;
        } else {
            shared.with(|state| state.beat_since = None);
        }
        let _ = tokio::time::timeout(TICK, target.changed()).await;
    }
}

async fn write_beat(shared: &Shared, session: &mut Session, (row, epoch): (u16, i64), target: &mut watch::Receiver<Target>) {
    shared.with(|state| {
        state.beat_since = Some(Instant::now());
        state.beat_held = false;
    });
    let written = tokio::select! {
        written = heartbeat::beat(session, row, epoch, BEAT) => written,
        // Another pod, or no longer the primary: this write is nobody's concern any more.
        () = moved_away(target) => Outcome::ReadOnly,
    };
    shared.with(|state| {
        state.beat_since = None;
        state.beat_held = false;
        state.beat_failing = match written {
            Outcome::DiskFull(error) | Outcome::Failed(error) => {
                let since = state.beat_failing.take().map_or_else(Instant::now, |(_, since)| since);
                Some((error.to_string(), since))
            }
            Outcome::Locked(_) | Outcome::Written | Outcome::ReadOnly | Outcome::NoSchema | Outcome::NoAnswer(_) | Outcome::Gone(_) => None,
        };
    });
}

async fn moved_away(target: &mut watch::Receiver<Target>) {
    let (uid, at) = {
        let aim = target.borrow();
        (aim.pod_uid.clone(), aim.at.clone())
    };
    while target.changed().await.is_ok() {
        let aim = target.borrow();
        if aim.beat.is_none() || aim.pod_uid != uid || aim.at != at {
            return;
        }
    }
}
