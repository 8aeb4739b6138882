//! A cache in Redis that stays right.
//!
//! A write: *begin* (delete the value, and let nobody fill it while this write is under way), commit, *end* (delete again, fill
//! from now on). A reader that finds nothing takes a lease, reads the database and fills only if its lease still stands:
//! whatever began meanwhile has taken it away, so a slow reader puts no old value back. The lease also is the lock against
//! stampedes: others wait for it a moment.
//! `begin` leaves an entry in Redis beside what it deleted: a writer that dies is ended by any other process, after a commit
//! of its own on every shard (`sweep`): what was committed before it is then visible, and nothing of the dead one comes later.
//! With reads from the standby the end waits until the standby has executed the write's GTIDs.
//! A Redis that comes back with old values is another process, an emptied one another generation: what was before is never
//! read (`link`). Writes that began before the loss end in the new one, before they are answered; a value that was filled
//! there while one may be under way lives for `young` only.
//! Without Redis writes go on: the transaction leaves the keys in an outbox table, and reads go to the database, a few at a
//! time. A connection that came back is read from only after the outboxes were emptied into it.
//! With two data centres a write does all that with both Redises, each with an outbox of its own, and a read asks the near one
//! alone: what a writer of the other centre couldn't tell it, the outbox does, or it isn't read from any more (`OtherCentre`).

mod erase;
mod link;
mod ops;
mod scripts;
mod sweep;
mod write;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::task::JoinHandle;

use super::calls::{At, Client, Work};
use super::limit::{Limit, Limiter};
use super::outcome::CallError;
pub use erase::{Away, Eraser};
use link::{Link, Open};
use scripts::Scripts;

/// How a cache works.
#[derive(Clone)]
pub struct CacheOptions {
    /// The beginning of all keys.
    pub namespace: String,
    /// The outbox (`database.table`) on every shard, class Local: [`Cache::create_outbox`].
    pub outbox: String,
    /// How long a value is kept, give or take a tenth.
    pub ttl: Duration,
    /// How long it is kept that there is none.
    pub absent_ttl: Duration,
    /// An answer of Redis that takes longer is none.
    pub deadline: Duration,
    /// A Redis that failed is asked again after this.
    pub pause: Duration,
    /// Longer than any read of the database: a reader's lease.
    pub lease: Duration,
    /// Longer than any write: after it a writer counts as dead.
    pub hold: Duration,
    /// How long a value is kept that was filled in the first `hold` of a Redis that restarted or was emptied: a write that
    /// began before, and whose process died since, is known to nobody.
    pub young: Duration,
    /// A write in doubt keeps its keys out of the cache for so long: a commit may still appear.
    pub doubt: Duration,
    /// Some readers fill from standbys: a write ends when the standby has it.
    pub standby_reads: bool,
    /// Reads of the database while Redis is away.
    pub without: Limit,
    /// Another data centre has a Redis of its own: writes go to both, reads to the one of [`Cache::new`].
    pub other: Option<OtherCentre>,
}

/// The Redis of the other data centre. There the two are the other way round.
#[derive(Clone, Debug)]
pub struct OtherCentre {
    /// As for [`Cache::new`].
    pub redis: String,
    /// The outbox that the processes there empty into it: another table than ours, on every shard, class Local.
    pub outbox: String,
    /// The near Redis is read from while its own outbox was emptied into it within so long: what the other centre's writers
    /// couldn't tell it is read for so long at most, also when this centre is cut off from the databases.
    pub believe: Duration,
}

impl OtherCentre {
    /// The usual one.
    pub fn new(redis: &str, outbox: &str) -> Self {
        Self { redis: redis.to_owned(), outbox: outbox.to_owned(), believe: Duration::from_secs(10) }
    }
}

impl CacheOptions {
    /// The usual ones.
    pub fn new(namespace: &str, outbox: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            outbox: outbox.to_owned(),
            ttl: Duration::from_secs(600),
            absent_ttl: Duration::from_secs(30),
            deadline: Duration::from_millis(100),
            pause: Duration::from_millis(500),
            lease: Duration::from_secs(10),
            hold: Duration::from_secs(60),
            young: Duration::from_secs(3),
            doubt: Duration::from_secs(600),
            standby_reads: false,
            without: Limit { at_once: 32, waiting: 1_024, wait: Duration::from_secs(5) },
            other: None,
        }
    }
}

/// Counted since the start.
#[derive(Debug, Default)]
pub struct CacheCounts {
    /// Found in Redis.
    pub hits: AtomicU64,
    /// Read from the database, and filled.
    pub fills: AtomicU64,
    /// Read from the database, and not filled: a write came between.
    pub refused_fills: AtomicU64,
    /// Waited for another's fill.
    pub waits: AtomicU64,
    /// Read from the database while Redis was away.
    pub without: AtomicU64,
    /// Writes that used the outbox.
    pub outboxed: AtomicU64,
    /// Writes that the sweeper ended.
    pub swept: AtomicU64,
    /// Cached values that [`Cache::sample`] compared with the database.
    pub sampled: AtomicU64,
    /// Of these, values that still differed after the bound.
    pub stale: AtomicU64,
    /// The longest time, in milliseconds, for which a sample saw a difference; one that outlived its bound lasted at least so long.
    pub stale_ms_max: AtomicU64,
}

impl CacheCounts {
    /// Stale samples of all, 0 to 1; 0 without samples.
    pub fn stale_ratio(&self) -> f64 {
        let [stale, sampled] = [&self.stale, &self.sampled].map(|c| c.load(Ordering::Relaxed) as f64);
        stale / sampled.max(1.0)
    }

    /// All of them in Prometheus' text format, for the application's own /metrics.
    pub fn exposition(&self) -> String {
        let totals = [
            ("hits", "Reads that were served by Redis", &self.hits),
            ("fills", "Values read from the database and cached", &self.fills),
            ("refused_fills", "Values read from the database and not cached, since a write came between", &self.refused_fills),
            ("waits", "Reads that waited for another's fill", &self.waits),
            ("without", "Reads of the database while Redis was away", &self.without),
            ("outboxed", "Writes that left their keys in the outbox", &self.outboxed),
            ("swept", "Writes of others that were ended", &self.swept),
            ("sampled", "Cached values compared with the database", &self.sampled),
            ("stale", "Samples that still differed after the bound", &self.stale),
        ];
        let total = |(name, help, count): (&str, &str, &AtomicU64)| {
            let name = format!("shardpair_cache_{name}_total");
            format!("# HELP {name} {help}.\n# TYPE {name} counter\n{name} {}\n", count.load(Ordering::Relaxed))
        };
        let gauges = [
            ("shardpair_cache_stale_ratio", "Stale samples of all, 0 to 1", self.stale_ratio()),
            ("shardpair_cache_stale_seconds_max", "The longest difference that a sample saw", self.stale_ms_max.load(Ordering::Relaxed) as f64 / 1e3),
        ];
        let gauge = |(name, help, value): (&str, &str, f64)| format!("# HELP {name} {help}.\n# TYPE {name} gauge\n{name} {value}\n");
        totals.into_iter().map(total).chain(gauges.into_iter().map(gauge)).collect()
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What a read of the database gives: None: there is no such row.
pub type Load<'a> = Pin<Box<dyn Future<Output = Result<Option<Vec<u8>>, CallError>> + Send + 'a>>;

/// What a cached value is made of: a mark, and the bytes.
const PRESENT: u8 = b'1';
const ABSENT: u8 = b'0';

enum Found {
    Value(Option<Vec<u8>>),
    Written,
    Ours(Open, String),
    Another,
    Away,
}

/// One Redis, and the table for what couldn't be told to it.
struct Side {
    link: Link,
    outbox: String,
    /// Leaves a key there.
    leaving: String,
}

impl Side {
    fn new(redis: &str, outbox: &str, far: bool, options: &CacheOptions) -> Result<Self, CallError> {
        let bad = |e: redis::RedisError| CallError::Refused(format!("the address of Redis: {e}"));
        let link = Link::new(redis::Client::open(redis).map_err(bad)?, &options.namespace, options.deadline, options.pause, far);
        let outbox = quoted(outbox);
        Ok(Self { link, leaving: format!("INSERT INTO {outbox} (cache_key) VALUES (?)"), outbox })
    }
}

struct Inner {
    near: Side,
    far: Option<Side>,
    scripts: Scripts,
    client: Arc<Client>,
    options: CacheOptions,
    without: Limiter,
    counts: CacheCounts,
}

/// Share it by `Arc`.
pub struct Cache {
    inner: Arc<Inner>,
    sweeper: JoinHandle<()>,
}

impl Cache {
    /// `redis` is `redis://[:password@]host:port/`. Begins at once, whether Redis is there or not.
    pub fn new(redis: &str, client: Arc<Client>, options: CacheOptions) -> Result<Self, CallError> {
        let near = Side::new(redis, &options.outbox, false, &options)?;
        let far = options.other.as_ref().map(|other| Side::new(&other.redis, &other.outbox, true, &options)).transpose()?;
        if options.other.as_ref().is_some_and(|other| other.outbox == options.outbox) {
            return Err(CallError::Refused("both data centres name the same outbox: each empties its own".to_owned()));
        }
        let without = Limiter::new(options.without);
        let inner = Arc::new(Inner { near, far, scripts: Scripts::default(), client, options, without, counts: CacheCounts::default() });
        Ok(Self { sweeper: tokio::spawn(sweep::run(inner.clone())), inner })
    }

    /// Makes the outbox on a shard.
    pub async fn create_outbox(conn: &mut Conn, table: &str) -> Result<(), mysql_async::Error> {
        let columns = "id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, cache_key VARBINARY(512) NOT NULL";
        conn.query_drop(format!("CREATE TABLE IF NOT EXISTS {} ({columns})", quoted(table))).await
    }

    /// What was counted.
    pub fn counts(&self) -> &CacheCounts {
        &self.inner.counts
    }

    /// Why Redis isn't used now, if it isn't.
    pub fn problem(&self) -> Option<String> {
        self.inner.near.link.problem()
    }

    /// The same of the other data centre's.
    pub fn other_problem(&self) -> Option<String> {
        self.inner.far.as_ref()?.link.problem()
    }

    /// The value of `key`: from Redis, else by `load` (which reads the primary, or with `standby_reads` a standby).
    pub async fn get<'a>(&self, key: &str, load: impl Fn() -> Load<'a>) -> Result<Option<Vec<u8>>, CallError> {
        let inner = &*self.inner;
        let begun = Instant::now();
        loop {
            match inner.find(key).await {
                Found::Value(value) => {
                    count(&inner.counts.hits);
                    return Ok(value);
                }
                Found::Ours(open, token) => {
                    // Before the read, not after: it may be routed by this map or by a newer one.
                    let epoch = inner.client.router().map().epoch;
                    let value = match load().await {
                        Ok(value) => value,
                        Err(error) => {
                            // Nobody need wait for a lease of ours.
                            inner.delete(&open, &[key]).await;
                            return Err(error);
                        }
                    };
                    inner.fill(&open, key, &token, epoch, value.as_deref()).await;
                    return Ok(value);
                }
                Found::Another if begun.elapsed() < inner.options.lease / 4 => {
                    count(&inner.counts.waits);
                    tokio::time::sleep(Duration::from_millis(rand::random_range(4..12))).await;
                }
                // Being written, or the one who fills is slow: read past the cache.
                Found::Written | Found::Another => return load().await,
                Found::Away => {
                    count(&inner.counts.without);
                    let _pass = inner.without.enter(0).await.ok_or(CallError::Shed { shard: 0 })?;
                    return load().await;
                }
            }
        }
    }

    /// Runs `work` in a transaction that changes what `keys` are made of.
    pub async fn transaction<T: Send>(&self, at: At<'_>, keys: &[&str], work: impl for<'c> Fn(&'c mut Conn) -> Work<'c, T> + Sync) -> Result<T, CallError> {
        self.inner.write(at, keys, false, work).await
    }

    /// The same for work that may happen twice without harm.
    pub async fn idempotent<T: Send>(&self, at: At<'_>, keys: &[&str], work: impl for<'c> Fn(&'c mut Conn) -> Work<'c, T> + Sync) -> Result<T, CallError> {
        self.inner.write(at, keys, true, work).await
    }

    /// Is the cached value what the database has? A difference that is still there after `bound` is stale: `Some(false)`.
    /// None: it isn't cached (any more). Counted: [`CacheCounts::stale_ratio`], [`CacheCounts::exposition`].
    pub async fn sample<'a>(&self, key: &str, bound: Duration, load: impl Fn() -> Load<'a>) -> Result<Option<bool>, CallError> {
        let begun = Instant::now();
        let counts = &self.inner.counts;
        let mut differs = false;
        let told = |differs: bool, right: Option<bool>| {
            if differs {
                counts.stale_ms_max.fetch_max(begun.elapsed().as_millis() as u64, Ordering::Relaxed);
            }
            if differs || right.is_some() {
                count(&counts.sampled);
            }
            if right == Some(false) {
                count(&counts.stale);
            }
            Ok(right)
        };
        loop {
            let Some(before) = self.inner.peek(key).await else { return told(differs, None) };
            let truth = load().await?;
            if before == truth {
                return told(differs, Some(true));
            }
            if begun.elapsed() > bound && self.inner.peek(key).await.as_ref() == Some(&before) {
                return told(true, Some(false));
            }
            differs = true;
            tokio::time::sleep(Duration::from_millis(20).min(bound)).await;
        }
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.sweeper.abort();
    }
}

fn quoted(table: &str) -> String {
    table.split('.').map(|part| format!("`{}`", part.replace('`', "``"))).collect::<Vec<_>>().join(".")
}
