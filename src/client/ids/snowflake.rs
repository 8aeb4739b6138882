//! The generator that an application holds: a [`Grant`], and a task that keeps milliseconds reserved.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::seq::IndexedRandom;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::grant::{Grant, NotNow, WORKER_BITS};
use super::store::{Entry, Store, StoreError};

/// Milliseconds are reserved this far ahead, and a lease that isn't renewed is another's after it.
pub const TERM: Duration = Duration::from_secs(6);
/// How often a free worker id is looked for before it is an error.
const ATTEMPTS: usize = 16;
/// A clock that is behind by less is waited for on the spot.
const SPIN: Duration = Duration::from_millis(5);

/// Milliseconds of the Unix epoch, from wherever.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Clock {
    /// The system's wall clock.
    pub fn system() -> Self {
        Self::of(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64))
    }

    /// Another one.
    pub fn of(clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(clock))
    }

    fn now_ms(&self) -> u64 {
        (self.0)()
    }
}

/// How a generator runs.
#[derive(Clone)]
pub struct SnowflakeOptions {
    /// This process, for people who look into the store; it is made unique.
    pub identity: String,
    /// Worker ids to choose from.
    pub workers: RangeInclusive<u16>,
    /// See [`TERM`]. All who share a store use the same.
    pub term: Duration,
    /// What time it is.
    pub clock: Clock,
}

impl SnowflakeOptions {
    /// The usual ones.
    pub fn new(identity: &str) -> Self {
        Self { identity: identity.to_owned(), workers: 0..=(1 << WORKER_BITS) - 1, term: TERM, clock: Clock::system() }
    }
}

/// Why there is no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The clock was set back, and waiting would take too long.
    #[error("the clock went back by {by_ms} ms: no ids until it has caught up, or another worker id is leased")]
    ClockWentBack {
        /// By how much.
        by_ms: u64,
    },
    /// The clock does not move.
    #[error("the clock stands still, and the ids of its millisecond are used up")]
    ClockStands,
    /// Before 2024 or after 2093.
    #[error("the clock shows a time outside 2024 to 2093")]
    OutOfRange,
    /// No worker id is leased now.
    #[error("no worker id is leased{0}")]
    NoLease(String),
    /// All are in use.
    #[error("no worker id is free: all {0} are in use; share fewer generators, or wait for those of dead processes to lapse")]
    NoneFree(usize),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

struct Inner {
    grant: RwLock<Option<Arc<Grant>>>,
    problem: Mutex<Option<IdError>>,
    options: SnowflakeOptions,
    base: Instant,
    /// Asks for a renewal at once.
    hurry: Notify,
}

impl Inner {
    fn monotonic(&self) -> u64 {
        self.base.elapsed().as_nanos() as u64
    }

    fn set(&self, grant: Option<Arc<Grant>>) {
        *self.grant.write().expect("never poisoned") = grant;
    }

    fn say(&self, problem: Option<IdError>) {
        if let Some(problem) = &problem {
            tracing::warn!(%problem, "ids");
        }
        *self.problem.lock().expect("never poisoned") = problem;
    }

    fn no_lease(&self) -> IdError {
        match &*self.problem.lock().expect("never poisoned") {
            Some(IdError::NoLease(why)) => IdError::NoLease(why.clone()),
            Some(problem) => IdError::NoLease(format!(": {problem}")),
            None => IdError::NoLease(String::new()),
        }
    }
}

/// Makes ids on any thread; share it by `Arc`. Dropping it ends it, [`Snowflake::stop`] also gives the worker id back.
pub struct Snowflake {
    inner: Arc<Inner>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Snowflake {
    /// Leases a worker id and keeps it. Takes a whole term with a store that may forget: begin early.
    pub async fn start<S: Store>(store: S, options: SnowflakeOptions) -> Result<Self, IdError> {
        let options = SnowflakeOptions { identity: format!("{}/{:016x}", options.identity, rand::random::<u64>()), ..options };
        let inner = Arc::new(Inner { grant: RwLock::default(), problem: Mutex::default(), options, base: Instant::now(), hurry: Notify::new() });
        let mut keeper = Keeper { store, inner: inner.clone(), version: String::new() };
        let grant = keeper.acquire().await?;
        inner.set(Some(grant));
        let (stop, stopping) = watch::channel(false);
        Ok(Self { inner, stop, task: tokio::spawn(keeper.run(stopping)) })
    }

    /// The next id. Waits at most 5 ms for the clock, on the spot.
    pub fn next(&self) -> Result<u64, IdError> {
        let grant = self.inner.grant.read().expect("never poisoned");
        let grant = grant.as_ref().ok_or_else(|| self.inner.no_lease())?;
        let mut waiting = None;
        loop {
            let monotonic = self.inner.monotonic();
            let refused = match grant.next(self.inner.options.clock.now_ms(), monotonic) {
                Ok(id) => return Ok(id),
                Err(NotNow::NotReserved) => {
                    self.inner.hurry.notify_one();
                    return Err(self.inner.no_lease());
                }
                Err(NotNow::OutOfRange) => return Err(IdError::OutOfRange),
                Err(NotNow::Behind { by_ms }) if u128::from(by_ms) > SPIN.as_millis() => {
                    self.inner.hurry.notify_one();
                    return Err(IdError::ClockWentBack { by_ms });
                }
                Err(NotNow::Behind { by_ms }) => IdError::ClockWentBack { by_ms },
                Err(NotNow::Full) => IdError::ClockStands,
            };
            let since = *waiting.get_or_insert(monotonic);
            if monotonic - since > 4 * SPIN.as_nanos() as u64 {
                return Err(refused);
            }
            std::hint::spin_loop();
        }
    }

    /// The next id; waits out a clock that went back, or a renewal, for at most `limit`.
    pub async fn next_within(&self, limit: Duration) -> Result<u64, IdError> {
        let begun = Instant::now();
        loop {
            let refused = match self.next() {
                Err(refused @ (IdError::ClockWentBack { .. } | IdError::NoLease(_) | IdError::ClockStands)) => refused,
                done => return done,
            };
            if begun.elapsed() >= limit {
                return Err(refused);
            }
            tokio::time::sleep(SPIN.min(limit)).await;
        }
    }

    /// The worker id in use.
    pub fn worker(&self) -> Option<u16> {
        self.inner.grant.read().expect("never poisoned").as_ref().map(|g| g.worker())
    }

    /// Ends it and gives the worker id back, if the store answers within a term.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let _ = tokio::time::timeout(self.inner.options.term, &mut self.task).await;
    }
}

impl Drop for Snowflake {
    fn drop(&mut self) {
        self.inner.set(None);
        self.task.abort();
    }
}

struct Keeper<S> {
    store: S,
    inner: Arc<Inner>,
    /// Of our entry, as we wrote it last.
    version: String,
}

impl<S: Store> Keeper<S> {
    fn term_ms(&self) -> u64 {
        self.inner.options.term.as_millis() as u64
    }

    /// What a write begun at `begun` is good for: less than a term, so that we stop before anybody else begins.
    fn expires(&self, begun: u64) -> u64 {
        begun + self.inner.options.term.as_nanos() as u64 * 5 / 6
    }

    async fn put(&self, worker: u16, expected: Option<&str>, holder: &str, until_ms: u64) -> Result<Option<String>, StoreError> {
        let limit = self.inner.options.term / 3;
        let late = || StoreError { store: "worker ids".to_owned(), why: format!("no answer within {limit:?}") };
        tokio::time::timeout(limit, self.store.put(worker, expected, holder, until_ms)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn acquire(&mut self) -> Result<Arc<Grant>, IdError> {
        let options = self.inner.options.clone();
        for _ in 0..ATTEMPTS {
            let entries = self.store.list().await?;
            let now = options.clock.now_ms();
            let (worker, old) = choose(&entries, &options.workers, now, self.term_ms()).ok_or(IdError::NoneFree(options.workers.clone().count()))?;
            let from_ms = old.map_or(0, |e| e.until_ms + 1);
            let (mut begun, mut until_ms) = (self.inner.monotonic(), now + self.term_ms());
            let Some(version) = self.put(worker, old.map(|e| e.version.as_str()), &options.identity, until_ms).await? else { continue };
            self.version = version;
            if S::FORGETS {
                tokio::time::sleep(options.term).await;
                begun = self.inner.monotonic();
                until_ms = until_ms.max(options.clock.now_ms() + self.term_ms());
                let Some(version) = self.put(worker, Some(&self.version), &options.identity, until_ms).await? else { continue };
                self.version = version;
            }
            return Ok(Arc::new(Grant::new(worker, from_ms, until_ms, self.expires(begun))));
        }
        Err(IdError::NoLease(format!(": others were faster {ATTEMPTS} times")))
    }

    async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        let pause = self.inner.options.term / 4;
        while !*stopping.borrow() {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // Not faster than this, however often somebody asks.
                () = async { self.inner.hurry.notified().await; tokio::time::sleep(pause / 8).await } => {}
                _ = stopping.changed() => break,
            }
            let grant = self.inner.grant.read().expect("never poisoned").clone();
            let result = match grant {
                Some(grant) => self.renew(&grant).await,
                None => self.acquire().await.map(|grant| self.inner.set(Some(grant))),
            };
            self.inner.say(result.err());
        }
        let grant = self.inner.grant.write().expect("never poisoned").take();
        if let Some(grant) = grant {
            grant.end();
            let _ = self.give_back(&grant).await;
        }
    }

    async fn give_back(&self, grant: &Grant) -> Result<(), IdError> {
        // What wasn't used is free again: the next holder begins right after our last id.
        let last = grant.last_ms().max(self.inner.options.clock.now_ms().min(grant.until_ms()));
        self.put(grant.worker(), Some(&self.version), "", last).await?;
        Ok(())
    }

    async fn renew(&mut self, grant: &Arc<Grant>) -> Result<(), IdError> {
        let (begun, now) = (self.inner.monotonic(), self.inner.options.clock.now_ms());
        if grant.last_ms() > now + self.term_ms() {
            // Set back by more than a term: this worker id is of no use until then.
            self.lose(grant);
            self.give_back(grant).await?;
            return Err(IdError::ClockWentBack { by_ms: grant.last_ms() - now });
        }
        let until_ms = grant.until_ms().max(now + self.term_ms());
        let identity = self.inner.options.identity.clone();
        let mut written = self.put(grant.worker(), Some(&self.version), &identity, until_ms).await?;
        if written.is_none() {
            let found = self.store.list().await?.into_iter().find(|e| e.worker == grant.worker());
            written = match found {
                // A write of ours whose answer we never got.
                Some(entry) if entry.holder == identity => self.put(grant.worker(), Some(&entry.version), &identity, until_ms.max(entry.until_ms)).await?,
                // The store forgot: whoever comes now waits a term, and sees us.
                None if S::FORGETS && grant.holds(self.inner.monotonic()) => self.put(grant.worker(), None, &identity, until_ms).await?,
                Some(_) | None => None,
            };
        }
        match written {
            Some(version) => {
                self.version = version;
                grant.extend(until_ms, self.expires(begun));
                Ok(())
            }
            None => {
                self.lose(grant);
                Err(IdError::NoLease(format!(": another process has worker id {}", grant.worker())))
            }
        }
    }

    fn lose(&self, grant: &Grant) {
        grant.end();
        self.inner.set(None);
    }
}

/// A worker id that nobody uses: one given back, one whose holder hasn't renewed for two terms, else one never used.
/// At random, so that many who start together don't all want the same.
fn choose<'a>(entries: &'a [Entry], workers: &RangeInclusive<u16>, now: u64, term: u64) -> Option<(u16, Option<&'a Entry>)> {
    let free = |e: &&Entry| workers.contains(&e.worker) && e.until_ms + if e.holder.is_empty() { 0 } else { 2 * term } < now;
    if let Some(entry) = entries.iter().filter(free).collect::<Vec<_>>().choose(&mut rand::rng()) {
        return Some((entry.worker, Some(entry)));
    }
    let used = entries.iter().map(|e| e.worker).collect::<std::collections::BTreeSet<_>>();
    workers.clone().filter(|w| !used.contains(w)).collect::<Vec<_>>().choose(&mut rand::rng()).map(|w| (*w, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_id_is_taken_over_only_when_its_milliseconds_are_past() {
        let entry = |worker, holder: &str, until_ms| Entry { worker, version: "1".to_owned(), holder: holder.to_owned(), until_ms };
        let two = 0..=1;
        assert_eq!(choose(&[], &(3..=3), 1_000, 10), Some((3, None)));
        let held = [entry(0, "a", 1_005), entry(1, "b", 985)];
        assert_eq!(choose(&held, &two, 1_000, 10), None, "0 is renewed, 1 has not been silent for two terms");
        assert_eq!(choose(&held, &two, 1_006, 10).map(|c| c.0), Some(1));
        let back = [entry(0, "", 1_005), entry(1, "b", 2_000)];
        assert_eq!(choose(&back, &two, 1_005, 10), None, "its last millisecond may have been used");
        assert_eq!(choose(&back, &two, 1_006, 10).map(|c| c.0), Some(0));
    }
}
