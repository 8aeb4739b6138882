//! Follows one shard's binlog, wherever its pair is.
//!
//! A transaction's keys are erased when its GTID is executed on the primary as the VIP has it *now*, and on the member that it was read
//! from: from then on every reader sees it, so what is filled after the erasure is new. So it doesn't matter which member is read, nor
//! that a primary's binlog holds commits that nobody acknowledged yet: what never comes to be is never waited for again, after a failover.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;

use super::read::Reader;
use super::{Seen, Shared};
use crate::client::{Address, Member};
use crate::mysql::gtid::GtidSet;
use crate::mysql::replication;
use crate::mysql::session::{Endpoint, Session, quote};
use crate::mysql::tail;
use crate::routing::Shard;

/// A question to MySQL.
const SHORT: Duration = Duration::from_secs(2);
/// Transactions are gathered for so long, while they come.
const GATHER: Duration = Duration::from_millis(10);
/// And so many at most.
const MANY: u64 = 500;
/// Between two looks at how far the primary is; the position is kept this often.
const LOOK: Duration = Duration::from_millis(500);
/// Between two looks where the VIP leads: keys that move to a new shard leave our session where it is, and nobody ends it.
const WHERE: Duration = Duration::from_secs(1);
/// A transaction that doesn't appear on the primary for so long, or a stream that gives nothing though the primary goes on: look anew.
const STILL: Duration = Duration::from_secs(5);
/// A standby whose stream stood still is passed over for so long.
const PASSED_OVER: Duration = Duration::from_secs(30);

/// What stopped a look.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error(transparent)]
    MySql(#[from] crate::mysql::Error),
    #[error(transparent)]
    Away(#[from] crate::client::cache::Away),
    #[error("{0}")]
    Other(String),
}

pub(super) struct Follower {
    shared: Arc<Shared>,
    shard: Shard,
    handled: Option<GtidSet>,
    kept: GtidSet,
    passed_over: Option<Instant>,
}

/// The member that is read, and a session beside the stream.
struct Source {
    stream: mysql_async::BinlogStream,
    ask: Session,
    member: Member,
}

pub(super) async fn run(shared: Arc<Shared>, shard: Shard) {
    let mut follower = Follower { shared, shard, handled: None, kept: GtidSet::default(), passed_over: None };
    let (mut pause, mut said) = (Duration::from_millis(100), String::new());
    loop {
        let begun = Instant::now();
        let Err(stopped) = follower.follow().await;
        let why = stopped.to_string();
        if why != said {
            tracing::warn!(shard = follower.shard.id, why, "begins to read anew");
            said = why.clone();
        }
        follower.shared.seen(follower.shard.id, |seen| seen.problem = Some(why));
        pause = if begun.elapsed() > STILL * 2 { Duration::from_millis(100) } else { (pause * 2).min(SHORT) };
        tokio::time::sleep(pause).await;
    }
}

async fn set(session: &mut Session, variable: &str) -> Result<GtidSet, Stopped> {
    Ok(replication::global(session, variable, SHORT).await?)
}

async fn server(session: &mut Session) -> Result<Option<String>, Stopped> {
    Ok(session.scalar("SELECT @@server_uuid", SHORT).await?)
}

impl Follower {
    async fn follow(&mut self) -> Result<std::convert::Infallible, Stopped> {
        let mut primary = self.session(Member::Primary).await?;
        let mut handled = match self.handled.take() {
            Some(handled) => handled,
            None => self.position(&mut primary).await?,
        };
        let source = self.source(&mut primary, &mut handled).await;
        self.handled = Some(handled);
        let mut source = source?;
        tracing::info!(shard = self.shard.id, member = ?source.member, "reads its binlog");
        self.stream(&mut primary, &mut source).await
    }

    fn address(&self, member: Member) -> Result<Address, Stopped> {
        (self.shared.places)(&self.shard, member).ok_or_else(|| Stopped::Other(format!("shard {} has no {member:?}", self.shard.id)))
    }

    async fn session(&self, member: Member) -> Result<Session, Stopped> {
        let (host, port) = self.address(member)?;
        let endpoint = Endpoint { member: format!("{host}:{port}"), host, port };
        Ok(Session::connect(&endpoint, &self.shared.account, SHORT).await?)
    }

    /// Kept beside the cached values; if Redis has none, everything is forgotten, and what comes after now is read.
    async fn position(&self, primary: &mut Session) -> Result<GtidSet, Stopped> {
        let name = self.name();
        if let Some(text) = self.shared.eraser.position(&name).await? {
            return GtidSet::parse(&text).map_err(|error| Stopped::Other(format!("the position kept in Redis: {error}")));
        }
        let now = set(primary, "gtid_executed").await?;
        self.begin_anew(&now, "Redis keeps no position").await?;
        Ok(now)
    }

    async fn begin_anew(&self, from: &GtidSet, why: &str) -> Result<(), Stopped> {
        tracing::warn!(shard = self.shard.id, why, "the whole cache is forgotten");
        self.shared.eraser.begin_anew(&self.name(), &from.to_string()).await?;
        self.shared.seen(self.shard.id, |seen| seen.forgotten += 1);
        Ok(())
    }

    fn name(&self) -> String {
        format!("{}/{}", self.shared.name, self.shard.id)
    }

    /// A member that still has everything after `handled`: the standby if it can be had.
    async fn source(&mut self, primary: &mut Session, handled: &mut GtidSet) -> Result<Source, Stopped> {
        let standby = self.passed_over.is_none_or(|at| at.elapsed() > PASSED_OVER);
        let members = if standby { [Member::Standby, Member::Primary] } else { [Member::Primary, Member::Standby] };
        let mut last = Stopped::Other("no member can be read".to_owned());
        for member in members {
            match self.try_source(member, handled).await {
                Ok(Some(source)) => return Ok(source),
                Ok(None) => last = Stopped::Other("binlogs that weren't read yet are gone from it".to_owned()),
                Err(stopped) => last = stopped,
            }
        }
        // Of the primary it is known for certain; a standby that can't be asked now may never have them either.
        let missing = set(primary, "gtid_purged").await?.subtract(handled);
        if missing.is_empty() {
            return Err(last);
        }
        let now = set(primary, "gtid_executed").await?;
        self.begin_anew(&now, &format!("the binlogs of {missing} are gone from every member that answers")).await?;
        *handled = now;
        Err(Stopped::Other("begun anew".to_owned()))
    }

    /// None: its binlogs don't go back far enough.
    async fn try_source(&self, member: Member, handled: &GtidSet) -> Result<Option<Source>, Stopped> {
        let mut ask = self.session(member).await?;
        if !set(&mut ask, "gtid_purged").await?.subtract(handled).is_empty() {
            return Ok(None);
        }
        let new = set(&mut ask, "gtid_executed").await?.subtract(handled);
        let Some(file) = tail::first_file(&mut ask, &new).await? else { return Err(Stopped::Other("it has no binlog".to_owned())) };
        let stream = tail::follow(self.session(member).await?, &file).await?;
        Ok(Some(Source { stream, ask, member }))
    }

    async fn stream(&mut self, primary: &mut Session, source: &mut Source) -> Result<std::convert::Infallible, Stopped> {
        let shared = self.shared.clone();
        let mut reader = Reader::new(&shared.templates);
        let (mut looked, mut level, mut flushed) = (None::<Instant>, Instant::now(), Instant::now());
        let (here, mut asked) = (server(primary).await?, Instant::now());
        loop {
            let handled = self.handled.get_or_insert_default();
            match tokio::time::timeout(GATHER, source.stream.next()).await {
                Ok(Some(Ok(event))) => reader.take(&source.stream, &event, handled).map_err(Stopped::Other)?,
                Ok(Some(Err(error))) => return Err(Stopped::Other(error.to_string())),
                Ok(None) => return Err(Stopped::Other("the stream ended".to_owned())),
                Err(_) => {}
            }
            let ready = flushed.elapsed() >= GATHER || reader.batch.transactions >= MANY;
            if reader.batch.transactions > 0 && ready {
                self.flush(primary, source, &mut reader).await?;
                (flushed, level) = (Instant::now(), Instant::now());
            }
            if looked.is_none_or(|at| at.elapsed() >= LOOK) {
                looked = Some(Instant::now());
                if self.look(primary).await? {
                    level = Instant::now();
                }
                if level.elapsed() > STILL {
                    self.passed_over = (source.member == Member::Standby).then(Instant::now);
                    return Err(Stopped::Other(format!("the {:?} gives nothing, and the primary goes on", source.member)));
                }
            }
            if asked.elapsed() >= WHERE {
                self.still_leads_to(&here).await?;
                asked = Instant::now();
            }
        }
    }

    /// A VIP that leads nowhere now is no reason to stop: the next look may say more.
    async fn still_leads_to(&self, here: &Option<String>) -> Result<(), Stopped> {
        let Ok(mut session) = self.session(Member::Primary).await else { return Ok(()) };
        let now = server(&mut session).await?;
        session.close().await;
        if now == *here { Ok(()) } else { Err(Stopped::Other("the VIP leads to another server now".to_owned())) }
    }

    /// Is everything handled that the primary has executed? Keeps the position.
    async fn look(&mut self, primary: &mut Session) -> Result<bool, Stopped> {
        let executed = set(primary, "gtid_executed").await?;
        let handled = self.handled.clone().unwrap_or_default();
        let level = handled.contains(&executed);
        if self.kept != handled {
            self.shared.eraser.keep(&self.name(), &handled.to_string()).await?;
            self.kept = handled;
        }
        self.shared.seen(self.shard.id, |seen: &mut Seen| {
            seen.problem = None;
            seen.behind_since = if level { None } else { seen.behind_since.or_else(|| Some(Instant::now())) };
        });
        Ok(level)
    }

    async fn flush(&mut self, primary: &mut Session, source: &mut Source, reader: &mut Reader<'_>) -> Result<(), Stopped> {
        for session in [primary, &mut source.ask] {
            visible(session, &reader.batch.gtids).await?;
        }
        let batch = std::mem::take(&mut reader.batch);
        let handled = self.handled.get_or_insert_default().union(&batch.gtids);
        let keys = batch.keys.len() as u64;
        match &batch.everything {
            Some(why) => self.begin_anew(&handled, why).await?,
            None => self.shared.eraser.erase(&batch.keys.into_iter().collect::<Vec<_>>()).await?,
        }
        self.handled = Some(handled);
        for problem in &reader.problems {
            self.shared.problem(problem);
        }
        self.shared.seen(self.shard.id, |seen| {
            seen.transactions += batch.transactions;
            seen.keys += keys;
        });
        Ok(())
    }
}

async fn visible(session: &mut Session, gtids: &GtidSet) -> Result<(), Stopped> {
    let sql = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET({}, {})", quote(&gtids.to_string()), STILL.as_secs());
    match session.scalar(&sql, STILL + SHORT).await?.as_deref() {
        Some("0") => Ok(()),
        _ => Err(Stopped::Other(format!("{gtids} isn't executed on {}: a commit that waits, or one that was undone", session.member()))),
    }
}
