//! Calls: a key is routed, its work runs on the shard, and is repeated where that is safe.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Pool};
use tokio::task::JoinHandle;

use super::limit::{Limit, Limiter};
use super::outcome::{CallError, Phase, Verdict, verdict};
use super::owner::Read;
use super::pools::{Address, Making, Pools, Slot};
use super::router::{MapSource, Router, RouterError};
use super::routes;
use crate::routing::{Key, Map, Shard};

/// What runs on a connection: `|conn| Box::pin(async move { … })`. It may run more than once, and must neither commit nor
/// run DDL; to give up, return `mysql_async::Error::Other`.
pub type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'c>>;

/// Which member of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    /// The one that takes writes.
    Primary,
    /// The one that may be a little behind.
    Standby,
}

/// Where a shard's members are: host and port; None: there is none for it.
pub type Places = Arc<dyn Fn(&Shard, Member) -> Option<Address> + Send + Sync>;

/// As shardpair names them: the VIP, and for the standby `<vip>-read`.
pub fn standard_places() -> Places {
    Arc::new(|shard, member| match member {
        Member::Primary => Some((shard.vip.clone(), shard.port)),
        Member::Standby => {
            let (name, domain) = shard.vip.split_once('.').unwrap_or((&shard.vip, ""));
            let host = if domain.is_empty() { format!("{name}-read") } else { format!("{name}-read.{domain}") };
            Some((host, shard.port))
        }
    })
}

/// How a client works.
#[derive(Clone)]
pub struct ClientOptions {
    /// This process, in the routing service's list.
    pub name: String,
    /// MySQL account.
    pub user: String,
    /// Its password.
    pub password: String,
    /// Connections per shard and member, at most.
    pub connections: usize,
    /// Calls under way per shard.
    pub limit: Limit,
    /// Getting a connection takes at most this.
    pub connect: Duration,
    /// An attempt takes at most this, its COMMIT not counted.
    pub attempt: Duration,
    /// COMMIT takes at most this: it may wait for a standby.
    pub commit: Duration,
    /// A call is tried for at most this.
    pub patience: Duration,
    /// A shard that failed for so long refuses calls at once, but for a few that look whether it is back; None: never.
    pub fail_fast: Option<Duration>,
    /// Where members are.
    pub places: Places,
}

impl ClientOptions {
    /// The usual ones.
    pub fn new(name: &str, user: &str, password: &str) -> Self {
        Self {
            name: name.to_owned(),
            user: user.to_owned(),
            password: password.to_owned(),
            connections: 16,
            limit: Limit { at_once: 64, waiting: 4_096, wait: Duration::from_secs(15) },
            connect: Duration::from_secs(1),
            attempt: Duration::from_secs(5),
            commit: Duration::from_secs(10),
            patience: Duration::from_secs(15),
            fail_fast: None,
            places: standard_places(),
        }
    }
}

/// Which shard.
#[derive(Clone, Copy, Debug)]
pub enum At<'a> {
    /// That of a row: table (`database.table`) and key.
    Row(&'a str, Key<'a>),
    /// This one: for Reference and Local tables.
    Shard(u32),
}

/// Everything that a shard had executed at some moment: reads that wait for it see what was written before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token(pub(super) String);

/// How new what is read must be.
#[derive(Clone, Copy, Debug)]
pub enum Freshness<'a> {
    /// From the primary.
    Latest,
    /// At least as new as the token: from the standby if it gets there within so long, else from the primary.
    After(&'a Token, Duration),
    /// From the standby however far behind it is, else from the primary.
    Any,
}

/// After a key that has moved, a newer map is waited for this long before the next try.
const MOVING: Duration = Duration::from_millis(100);

/// Pools, routing and retries; share it by `Arc`.
pub struct Client {
    router: Arc<Router>,
    pools: Arc<Pools>,
    limiter: Limiter,
    options: ClientOptions,
    following: JoinHandle<()>,
}

impl Client {
    /// Gets the first map within `patience`; connections are made when they are needed.
    pub async fn new(source: MapSource, options: ClientOptions) -> Result<Self, RouterError> {
        let router = Arc::new(Router::follow(source, &options.name, options.patience).await?);
        let making = Making { user: options.user.clone(), password: options.password.clone(), most: options.connections };
        let pools = Arc::new(Pools::new(making));
        let following = tokio::spawn(follow(router.clone(), pools.clone(), options.places.clone()));
        let client = Self { router, pools, limiter: Limiter::new(options.limit), options, following };
        client.read_routes().await?;
        Ok(client)
    }

    /// The first ones, if they are a MySQL table.
    async fn read_routes(&self) -> Result<(), RouterError> {
        let map = self.router.map();
        let Some(table) = routes::table(&map) else { return Ok(()) };
        let found = self.read(At::Shard(0), Freshness::Latest, move |conn| routes::read(conn, table)).await;
        self.router.route_by(found.map_err(|error| RouterError::Source(format!("table {table} of shard 0: {error}")))?);
        Ok(())
    }

    /// The map that it uses.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// Runs `work` in a transaction. Until COMMIT is sent it is repeated as long as patience lasts; a COMMIT without an
    /// answer is [`CallError::InDoubt`].
    pub async fn transaction<T: Send>(&self, at: At<'_>, work: impl for<'c> Fn(&'c mut Conn) -> Work<'c, T> + Sync) -> Result<T, CallError> {
        self.write(at, false, Before::default(), &work).await
    }

    /// The same for work that may happen twice without harm (an UPSERT, an INSERT IGNORE of a row with an id of its own):
    /// what is in doubt is done again. A failover costs it its gap, and no error.
    pub async fn idempotent<T: Send>(&self, at: At<'_>, work: impl for<'c> Fn(&'c mut Conn) -> Work<'c, T> + Sync) -> Result<T, CallError> {
        self.write(at, true, Before::default(), &work).await
    }

    pub(super) async fn write<T: Send>(&self, at: At<'_>, twice: bool, before: Before<'_>, work: &(impl for<'c> Fn(&'c mut Conn) -> Work<'c, T> + Sync)) -> Result<T, CallError> {
        let mut trying = Trying::new(self.options.patience);
        let (mut _pass, mut passed) = (None, None);
        loop {
            let (shard, map) = self.shard(at)?;
            trying.epoch = map.epoch;
            if passed != Some(shard.id) {
                _pass = Some(self.limiter.enter(shard.id).await.ok_or(CallError::Shed { shard: shard.id })?);
                passed = Some(shard.id);
            }
            let slot = self.slot(&shard, Member::Primary, false).ok_or(CallError::Shed { shard: shard.id })?;
            self.fast(&slot, &shard)?;
            let (pool, number) = slot.pool();
            let (phase, error) = match self.attempt(&pool, Begin::Write(before), work).await {
                Ok(value) => {
                    slot.went(true);
                    return Ok(value);
                }
                Err(failed) => failed,
            };
            let verdict = match verdict(&error, phase) {
                Verdict::Doubt(_) if twice => Verdict::Again { anew: true, at_most: None },
                Verdict::Doubt(why) => {
                    slot.renew(number);
                    return Err(CallError::InDoubt { shard: shard.id, why });
                }
                other => other,
            };
            self.after(verdict, &error, &shard, &slot, number, &mut trying).await?;
        }
    }

    /// Runs `work`, which only reads (MySQL refuses writes in it), and repeats it as long as patience lasts.
    pub async fn read<T: Send>(&self, at: At<'_>, freshness: Freshness<'_>, work: impl for<'c> Fn(&'c mut Conn) -> Work<'c, T> + Sync) -> Result<T, CallError> {
        let (shard, map) = self.shard(at)?;
        let _pass = self.limiter.enter(shard.id).await.ok_or(CallError::Shed { shard: shard.id })?;
        let wait = match freshness {
            Freshness::Latest => None,
            Freshness::After(token, limit) => Some(Some((token.0.as_str(), limit))),
            Freshness::Any => Some(None),
        };
        if let Some((after, slot)) = wait.zip(self.slot(&shard, Member::Standby, true)) {
            // A standby that doesn't answer is asked by one caller in a while, not by each.
            if slot.failing().is_none() || slot.may_probe(Duration::from_millis(500)) {
                let (pool, number) = slot.pool();
                match self.attempt(&pool, Begin::Read(Read { slot: &slot, number, map: &map, shard: &shard, at }, after), &work).await {
                    Ok(value) => {
                        slot.went(true);
                        return Ok(value);
                    }
                    Err((_, Error::Other(error))) if error.is::<Behind>() => slot.went(true),
                    Err((phase, error)) => match verdict(&error, phase) {
                        Verdict::No(no) => return Err(no),
                        _ => {
                            slot.went(false);
                            slot.renew(number);
                        }
                    },
                }
            }
        }
        let mut trying = Trying::new(self.options.patience);
        loop {
            let (shard, map) = self.shard(at)?;
            trying.epoch = map.epoch;
            let slot = self.slot(&shard, Member::Primary, true).ok_or(CallError::Shed { shard: shard.id })?;
            self.fast(&slot, &shard)?;
            let (pool, number) = slot.pool();
            match self.attempt(&pool, Begin::Read(Read { slot: &slot, number, map: &map, shard: &shard, at }, None), &work).await {
                Ok(value) => {
                    slot.went(true);
                    return Ok(value);
                }
                Err((phase, error)) => self.after(verdict(&error, phase), &error, &shard, &slot, number, &mut trying).await?,
            }
        }
    }

    /// What the shard's primary has executed now: everything that was written there before.
    pub async fn token(&self, at: At<'_>) -> Result<Token, CallError> {
        let executed = self.read(at, Freshness::Latest, |conn| Box::pin(async move { conn.query_first::<String, _>("SELECT @@GLOBAL.gtid_executed").await })).await?;
        Ok(Token(executed.unwrap_or_default().replace('\n', "")))
    }

    /// The token's GTIDs, and whose they are.
    pub(super) async fn executed(&self, at: At<'_>) -> Result<(u32, String), CallError> {
        let (shard, _) = self.shard(at)?;
        Ok((shard.id, self.token(At::Shard(shard.id)).await?.0))
    }

    /// Has the shard's standby executed all of this? False also when it doesn't answer.
    pub(super) async fn standby_has(&self, shard: u32, executed: &str) -> bool {
        let at = At::Shard(shard);
        let Ok((shard, map)) = self.shard(at) else { return false };
        let Some(slot) = self.slot(&shard, Member::Standby, true) else { return true };
        let (pool, number) = slot.pool();
        let read = Read { slot: &slot, number, map: &map, shard: &shard, at };
        match self.attempt(&pool, Begin::Read(read, Some((executed, Duration::from_millis(50)))), &nothing).await {
            Ok(()) => true,
            Err((_, Error::Other(error))) if error.is::<Behind>() => false,
            Err(_) => {
                slot.renew(number);
                false
            }
        }
    }

    /// For how long no call to the shard's primary has gone well; None: the last one did. What a read-only mode of the
    /// application goes by.
    pub fn failing(&self, shard: u32) -> Option<Duration> {
        let map = self.router.map();
        let shard = map.shards.iter().find(|s| s.id == shard)?;
        self.slot(shard, Member::Primary, false)?.failing()
    }

    /// And the map that says so.
    fn shard(&self, at: At<'_>) -> Result<(Shard, Arc<Map>), CallError> {
        let map = self.router.map();
        match at {
            At::Row(table, key) => Ok((map.shard_of(table, &key)?.clone(), map)),
            At::Shard(id) => {
                let found = map.shards.iter().find(|s| s.id == id).cloned();
                let shard = found.ok_or_else(|| CallError::Refused(format!("the map of epoch {} has no shard {id}", map.epoch)))?;
                Ok((shard, map))
            }
        }
    }

    fn slot(&self, shard: &Shard, member: Member, read_only: bool) -> Option<Arc<Slot>> {
        (self.options.places)(shard, member).map(|address| self.pools.slot(&address, read_only))
    }

    fn fast(&self, slot: &Slot, shard: &Shard) -> Result<(), CallError> {
        match slot.failing().zip(self.options.fail_fast) {
            Some((failing, limit)) if failing > limit && !slot.may_probe(Duration::from_millis(100)) => {
                Err(CallError::Unavailable { shard: shard.id, waited: Duration::ZERO, last: format!("it has failed for {failing:?}") })
            }
            _ => Ok(()),
        }
    }

    /// One try. Errors say in which phase it was.
    async fn attempt<T>(&self, pool: &Pool, begin: Begin<'_>, work: &impl for<'c> Fn(&'c mut Conn) -> Work<'c, T>) -> Result<T, (Phase, Error)> {
        let before = |e| (Phase::Before, e);
        let mut conn = limited(self.options.connect, "connecting", pool.get_conn()).await.map_err(before)?;
        let working = async {
            match begin {
                Begin::Read(read, wait) => {
                    read.is_owned(&mut conn).await?;
                    if let Some((set, limit)) = wait {
                        caught_up(&mut conn, set, limit).await?;
                    }
                }
                Begin::Write(before) => {
                    conn.query_drop("START TRANSACTION").await?;
                    for sql in before.statements {
                        conn.exec_batch(sql, before.values.iter().map(|value| (value.as_bytes(),))).await?;
                    }
                }
            }
            work(&mut conn).await
        };
        let commit = matches!(begin, Begin::Write(_));
        let value = match limited(self.options.attempt, "the work", working).await {
            Ok(value) => value,
            Err(error) => {
                if commit && matches!(error, Error::Server(_) | Error::Other(_)) {
                    let _ = limited(Duration::from_secs(1), "ROLLBACK", conn.query_drop("ROLLBACK")).await;
                }
                return Err(before(error));
            }
        };
        if commit {
            limited(self.options.commit, "COMMIT", conn.query_drop("COMMIT")).await.map_err(|e| (Phase::Commit, e))?;
        }
        Ok(value)
    }

    /// Waits, gets new connections, or a newer map; an error: it is over.
    async fn after(&self, verdict: Verdict, error: &Error, shard: &Shard, slot: &Slot, number: u64, trying: &mut Trying) -> Result<(), CallError> {
        let last = match &verdict {
            Verdict::Moved(_) => format!("{error}; the map in use is of epoch {}", self.router.map().epoch),
            _ => error.to_string(),
        };
        match verdict {
            Verdict::No(no) => return Err(no),
            Verdict::Doubt(why) => return Err(CallError::InDoubt { shard: shard.id, why }),
            Verdict::Moved(_) => {
                // Also with a new map the connections lead to where the VIP led before, and keys that are just moving are nobody's
                // for a moment: so ask for a newer map, and try again either way.
                slot.renew(number);
                let _ = self.router.newer(trying.epoch, trying.left().min(MOVING)).await;
            }
            Verdict::Again { anew, at_most } => {
                if anew {
                    slot.went(false);
                    slot.renew(number);
                }
                trying.contended += u32::from(at_most.is_some());
                if at_most.is_some_and(|most| trying.contended > most) {
                    return Err(match error {
                        Error::Server(e) => CallError::Server { code: e.code, message: e.message.clone() },
                        other => CallError::Refused(other.to_string()),
                    });
                }
            }
        }
        if trying.left().is_zero() {
            return Err(CallError::Unavailable { shard: shard.id, waited: trying.begun.elapsed(), last });
        }
        trying.pause().await;
        Ok(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.following.abort();
    }
}

async fn follow(router: Arc<Router>, pools: Arc<Pools>, places: Places) {
    tokio::join!(follow_map(&router, &pools, &places), routes::follow(&router, &pools, &places));
}

/// A new map: connections to places that are gone, or hold other keys now, end at once.
async fn follow_map(router: &Router, pools: &Pools, places: &Places) {
    let mut changes = router.changes();
    let mut last: Arc<Map> = changes.borrow_and_update().clone();
    while changes.changed().await.is_ok() {
        let next = changes.borrow_and_update().clone();
        let addresses = |shard: &Shard| [places(shard, Member::Primary), places(shard, Member::Standby)].into_iter().flatten().collect::<Vec<_>>();
        let named = next.shards.iter().flat_map(&addresses).collect::<Vec<_>>();
        let changed = next.shards.iter().filter(|s| !last.shards.contains(s)).flat_map(&addresses).collect::<Vec<_>>();
        pools.keep(&named, &changed);
        last = next;
    }
}

fn nothing(_: &mut Conn) -> Work<'_, ()> {
    Box::pin(std::future::ready(Ok(())))
}

/// What comes before the work.
#[derive(Clone, Copy)]
enum Begin<'a> {
    /// A look whether the pair owns what is read; perhaps a wait for what must have been executed.
    Read(Read<'a>, Option<(&'a str, Duration)>),
    /// A transaction, perhaps with something of its own.
    Write(Before<'a>),
}

/// Statements of one parameter, each run for every value in the same transaction, before the work.
#[derive(Clone, Copy, Default)]
pub(super) struct Before<'a> {
    pub(super) statements: &'a [String],
    pub(super) values: &'a [&'a str],
}

#[derive(Debug, thiserror::Error)]
#[error("the standby is behind")]
struct Behind;

async fn caught_up(conn: &mut Conn, set: &str, limit: Duration) -> Result<(), Error> {
    let timed_out: Option<Option<u8>> = conn.exec_first("SELECT WAIT_FOR_EXECUTED_GTID_SET(?, ?)", (set, limit.as_secs_f64().max(0.001))).await?;
    if timed_out == Some(Some(0)) { Ok(()) } else { Err(Error::Other(Box::new(Behind))) }
}

async fn limited<T>(limit: Duration, doing: &str, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = || std::io::Error::new(std::io::ErrorKind::TimedOut, format!("{doing}: no answer within {limit:?}"));
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(late().into()))
}

struct Trying {
    begun: Instant,
    patience: Duration,
    pause: Duration,
    contended: u32,
    /// Of the map that the try went by.
    epoch: i64,
}

impl Trying {
    fn new(patience: Duration) -> Self {
        Self { begun: Instant::now(), patience, pause: Duration::from_millis(4), contended: 0, epoch: 0 }
    }

    fn left(&self) -> Duration {
        self.patience.saturating_sub(self.begun.elapsed())
    }

    /// Longer each time, up to 100 ms, and never the same for all callers.
    async fn pause(&mut self) {
        tokio::time::sleep(self.pause.mul_f64(rand::random_range(0.5..1.0)).min(self.left())).await;
        self.pause = (self.pause * 2).min(Duration::from_millis(100));
    }
}
