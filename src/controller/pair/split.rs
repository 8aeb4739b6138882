//! What a split asks of a pair, what is seen of the other side, and its steps, carried out exactly as decided.
//!
//! A runner commands the members of its own pair only; those of the other side it sees through that pair's probers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::ResourceExt;

use super::Runner;
use super::act::{QUICK, SLOW, surprise};
use super::hands::Surprise;
use super::switchover::DATA_PLANE;
use crate::api::cluster::{Sharding, Strategy};
use crate::api::pair::{ShardPair, Split, SplitKeys, SplitRole};
use crate::controller::prober::Prober;
use crate::controller::stores::Stores;
use crate::mysql::facts::Asked;
use crate::mysql::gtid::GtidSet;
use crate::mysql::heartbeat::{self, Outcome};
use crate::mysql::{facts, guard, replication, role, sessions};
use crate::pair::facts::{Contact, Other};
use crate::pair::record::Record;
use crate::pair::settings::{GuardWanted, SplitWanted};
use crate::routing::{Guard, Keys, Table};

/// Keys that move may wait this long for the fence, and then this long for the other side to have everything.
const BUDGET: Duration = Duration::from_secs(1);
/// A trigger may wait this long for open transactions in one pass; the next goes on.
const PLACE: Duration = Duration::from_secs(2);
/// Heartbeat row of shard 0.
const FIRST_ROW: u16 = 16;
/// A look at a member of the other side takes at most this.
const LOOK: Duration = Duration::from_millis(100);
/// The application's old sessions get this long to finish what they are at; then they are ended.
const GRACE: Duration = Duration::from_secs(10);
/// Before a channel is forgotten, everything received is applied within this.
const DRAIN: Duration = Duration::from_secs(3);

/// A shard's keys, as the map had them.
fn keys(strategy: Strategy, keys: &SplitKeys) -> Option<Keys> {
    Some(match strategy {
        Strategy::Hash => Keys::Residue { modulus: keys.modulus?, residue: keys.residue? },
        Strategy::Range => Keys::Range { from: keys.from, to: keys.to },
        Strategy::Table => Keys::Route { route: keys.route?, modulus: keys.modulus?, residue: keys.residue? },
    })
}

/// The guard that a split asks for.
pub(in crate::controller) fn guard_of(sharding: &Sharding, split: &Split) -> Result<Guard, String> {
    let keys = keys(sharding.strategy, &split.keys).ok_or("spec.split.keys doesn't say which keys the parent has")?;
    let tables: Vec<Table> = sharding.tables.iter().map(Table::from).collect();
    Guard::of(&tables, sharding.function, &keys, split.split_at).map_err(|error| error.to_string())
}

impl Runner {
    /// From the pair's own spec and the cluster's tables.
    pub(super) fn split_wanted(&mut self, sharding: &Sharding) -> Option<SplitWanted> {
        let split = self.pair.spec.split.clone()?;
        let made = guard_of(sharding, &split);
        self.guard = made.as_ref().ok().cloned();
        Some(SplitWanted {
            name: self.pair.name_any(),
            role: split.role,
            other: split.other,
            until: split.until,
            standbys: split.standbys,
            map_epoch: split.map_epoch.unwrap_or_default(),
            guard: made.map(|g| GuardWanted { hash: g.hash(), stays: g.stays, moves: g.moves }),
        })
    }

    /// The other pair, from the watch.
    pub(super) fn other_pair(&self) -> Option<Arc<ShardPair>> {
        let split = self.pair.spec.split.as_ref()?;
        Stores::get(&self.ctx.stores.pairs, &self.namespace, &split.other).filter(|p| p.metadata.deletion_timestamp.is_none())
    }

    /// Has the other side ceded its keys to this pair, which follows it still?
    pub(super) fn called(&self) -> bool {
        let record = self.record();
        let Some(follows) = &record.follows else { return false };
        let ceded = self.other_pair().and_then(|p| p.status.as_ref()?.record.ceded.clone());
        ceded.is_some_and(|c| c.pair == self.pair.name_any() && follows.given_back < Some(c.epoch))
    }

    /// Probers of the other side's members.
    pub(super) fn others(&self) -> Vec<Arc<Prober>> {
        let Some(pair) = self.other_pair() else { return Vec::new() };
        members_of(&pair).iter().filter_map(|name| self.ctx.members.find(&self.namespace, name)).collect()
    }

    /// What is seen of the other side.
    pub(super) fn observe_other(&self) -> Option<Other> {
        let pair = self.other_pair()?;
        let record = pair.status.as_ref().map(|s| s.record.clone()).unwrap_or_default();
        let mut other = Other { name: pair.name_any(), record, ..Other::default() };
        for name in members_of(&pair) {
            let mut member = self.objects(&name);
            if let Some(prober) = self.ctx.members.find(&self.namespace, &name) {
                prober.snapshot(&mut member);
            }
            other.members.insert(name, member);
        }
        Some(other)
    }

    /// What the probers ask for: of a pair that follows another, the lag behind that.
    pub(super) fn asked(&self, record: &Record) -> Asked {
        let row = heartbeat_row(&self.pair);
        let followed = record.follows.as_ref().and_then(|f| Stores::get(&self.ctx.stores.pairs, &self.namespace, &f.pair));
        let lag = followed.map_or(row, |pair| heartbeat_row(&pair));
        let split = self.pair.spec.split.is_some() || self.pair.status.as_ref().is_some_and(|s| s.split.is_some());
        Asked { row, lag, guard: split }
    }

    /// How long the moving keys paused, as told by the side that ended it.
    pub(super) fn pause_seconds(&self) -> Option<f64> {
        let own = self.memory.pause.map(|p| (p.as_secs_f64() * 1000.0).round() / 1000.0);
        let told = self.pair.status.as_ref().and_then(|s| s.split.as_ref()?.pause_seconds);
        match self.pair.spec.split.as_ref().map(|s| s.role) {
            Some(SplitRole::Parent) => self.other_pair().and_then(|p| p.status.as_ref()?.split.as_ref()?.pause_seconds).or(told),
            _ => own.or(told),
        }
    }

    /// The VIP of a child has moved: since when had its keys paused?
    pub(super) fn note_pause(&mut self, member: &str) {
        let record = self.record();
        let opened = record.follows.is_none() && record.linked.is_some() && record.primary == member;
        let ceded = self.other_pair().and_then(|p| p.status.as_ref()?.record.ceded.clone()).filter(|c| c.pair == self.pair.name_any());
        if let Some(ceded) = ceded.filter(|c| opened && self.memory.paused_at != Some(c.epoch)) {
            let ms = Timestamp::now().as_millisecond() - ceded.fenced_at.0.as_millisecond();
            self.memory.pause = Some(Duration::from_millis(ms.max(0) as u64));
            self.memory.paused_at = Some(ceded.epoch);
        }
    }

    /// Places the guard, or sets what differs; each part is idempotent.
    pub(super) async fn set_guard(&mut self, member: &str, owned: &BTreeSet<u32>, epoch: i64, (ddl, unsharded): (bool, bool)) -> Result<(), Surprise> {
        let named = surprise("Guard");
        let Some(wanted) = self.guard.clone() else { return Err(Surprise::new("Guard", "no guard can be made")) };
        let app = self.memory.app.as_ref().map(|(_, app)| app.user.clone());
        let databases = self.databases();
        let session = self.at(member).await?;
        let there = guard::read(session).await.map_err(&named)?.unwrap_or_default();
        if there.hash != wanted.hash() {
            guard::place(session, &wanted, owned, epoch, PLACE).await.map_err(&named)?;
        } else if there.owned != *owned {
            guard::set_owned(session, owned, epoch).await.map_err(&named)?;
        }
        match (unsharded, there.unsharded_refused) {
            (false, false) => guard::refuse_unsharded(session, &wanted, epoch, PLACE).await.map_err(&named)?,
            (true, true) => guard::allow_unsharded(session, epoch).await.map_err(&named)?,
            _ => {}
        }
        let Some(app) = app else { return Err(Surprise::new("Guard", "the application's account isn't known yet")) };
        match (ddl, there.ddl_revoked) {
            (false, false) => guard::revoke_ddl(session, &app, &databases).await.map_err(&named),
            (true, true) => self.restore_ddl("Guard", member, &app).await,
            _ => Ok(()),
        }
    }

    /// See [`crate::pair::step::Step::RetireSessions`]. Clients come again, and have the rights of now.
    pub(super) async fn retire_sessions(&mut self, member: &str, at_once: bool) -> Result<(), Surprise> {
        let named = "RetireSessions";
        let Some((_, app)) = self.memory.app.clone() else { return Err(Surprise::new(named, "the application's account isn't known yet")) };
        let grace = if at_once { Duration::ZERO } else { GRACE };
        let left = guard::retire_sessions(self.at(member).await?, &app.user, grace).await.map_err(surprise(named))?;
        if at_once && left > 0 {
            return Err(Surprise::new(named, format!("{left} sessions of {} on {member} don't end", app.user)));
        }
        Ok(())
    }

    /// A parent's sessions from before the flip have ended before (`guard::note_sessions`).
    async fn restore_ddl(&mut self, step: &str, member: &str, app: &str) -> Result<(), Surprise> {
        let (databases, ceded) = (self.databases(), self.record().ceded.is_some());
        let session = self.at(member).await?;
        let there = guard::read(session).await.map_err(surprise(step))?.filter(|g| g.ddl_revoked);
        if ceded && there.is_some_and(|g| g.old_sessions != Some(0)) {
            return Err(Surprise::new(step, format!("sessions from before the flip are still on {member}")));
        }
        guard::restore_ddl(session, app, &databases).await.map_err(surprise(step))
    }

    pub(super) async fn remove_guard(&mut self, member: &str) -> Result<(), Surprise> {
        let Some((_, app)) = self.memory.app.clone() else { return Err(Surprise::new("RemoveGuard", "the application's account isn't known yet")) };
        self.restore_ddl("RemoveGuard", member, &app.user).await?;
        guard::remove(self.at(member).await?).await.map_err(surprise("RemoveGuard"))
    }

    pub(super) async fn close_follower(&mut self, member: &str) -> Result<(), Surprise> {
        role::become_follower(self.at(member).await?, BUDGET, SLOW).await.map_err(surprise("CloseFollower"))
    }

    /// The VIPs have moved long ago: who is still on a parent from before is noted, and must come again before the guard goes.
    pub(super) async fn detach(&mut self, member: &str, drain: bool) -> Result<(), Surprise> {
        let named = surprise("Detach");
        let ceded = self.record().ceded.is_some();
        let session = self.at(member).await?;
        // First: once the channel is gone, nobody comes back to this.
        if ceded {
            guard::note_sessions(session).await.map_err(&named)?;
        }
        replication::forget(session, drain, DRAIN, SLOW).await.map_err(&named)
    }

    /// See [`crate::pair::step::Step::Cede`]. What fails before the record is written is undone here at once; where this
    /// doesn't get to it, the guard's rows follow the record in the next pass.
    pub(super) async fn cede(&mut self, primary: &str, to: (&str, Option<&str>), classes: (u32, u32), record: &Record) -> Result<(), Surprise> {
        let mut record = record.clone();
        if let Some(ceded) = &mut record.ceded {
            ceded.fenced_at = MicroTime(Timestamp::now());
        }
        let map_epoch = self.pair.spec.split.as_ref().and_then(|s| s.map_epoch).unwrap_or_default();
        if let Err(why) = self.fence(primary, to, (classes.0, map_epoch), &mut record).await {
            let both = BTreeSet::from([classes.0, classes.1]);
            let undone = match self.at(primary).await {
                Ok(session) => guard::set_owned(session, &both, map_epoch).await.map_err(surprise("Cede")),
                Err(surprise) => Err(surprise),
            };
            tracing::info!(pair = %self.pair.name_any(), %why, undone = undone.is_ok(), "flip undone");
            return Err(why);
        }
        self.write_record(&record).await
    }

    /// Refuse the moving keys; then all that passed before is on the child's members.
    async fn fence(&mut self, primary: &str, (to, acker): (&str, Option<&str>), (moves, map_epoch): (u32, i64), record: &mut Record) -> Result<(), Surprise> {
        let named = surprise("Cede");
        let row = heartbeat_row(&self.pair);
        let begun = Instant::now();
        let session = self.at(primary).await?;
        guard::fence(session, moves, map_epoch, BUDGET).await.map_err(&named)?;
        let fenced = begun.elapsed();
        // A transaction frees its locks a moment before it shows in gtid_executed; one that is logged after it shows after it.
        match heartbeat::beat(session, row, record.epoch - 1, BUDGET).await {
            Outcome::Written => {}
            other => return Err(Surprise::new("Cede", format!("{primary}: {other:?}"))),
        }
        let beaten = begun.elapsed();
        let last = replication::state(session, QUICK).await.map_err(&named)?.executed;
        if let Some(ceded) = &mut record.ceded {
            ceded.executed = format!("{last:#}");
        }
        let waiting = Instant::now();
        let (there, with_acker) = tokio::join!(self.other_has("Cede", to, &last, true, waiting), async {
            match acker {
                Some(acker) => self.other_has("Cede", acker, &last, false, waiting).await,
                None => Ok(()),
            }
        });
        there.and(with_acker)?;
        let ms = |d: Duration| d.as_millis() as u64;
        tracing::info!(pair = %self.pair.name_any(), fence_ms = ms(fenced), beat_ms = ms(beaten - fenced), all_ms = ms(begun.elapsed()), "fenced");
        Ok(())
    }

    /// Waits until a member of the other side has all of this: executed, or at least received.
    async fn other_has(&self, step: &str, member: &str, all: &GtidSet, executed: bool, begun: Instant) -> Result<(), Surprise> {
        let Some(prober) = self.ctx.members.find(&self.namespace, member) else { return Err(Surprise::new(step, format!("{member} isn't watched"))) };
        loop {
            prober.refresh(LOOK).await;
            let mut seen = crate::pair::facts::Member::default();
            prober.snapshot(&mut seen);
            let holds = seen.facts.as_ref().is_some_and(|f| if executed { f.executed.contains(all) } else { f.holds().contains(all) });
            if holds && seen.contact == Contact::Answering {
                return Ok(());
            }
            if begun.elapsed() >= BUDGET {
                let missing = seen.facts.map(|f| all.subtract(&f.executed).count()).unwrap_or_default();
                return Err(Surprise::new(step, format!("{member} lacks {missing} transactions after {} ms", BUDGET.as_millis())));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// See [`crate::pair::step::Step::GiveBack`]. What fails before the record is written is undone here at once, else by
    /// the ordinary rules: the primary is still recorded as open.
    pub(super) async fn give_back(&mut self, primary: &str, to: &str, record: &Record) -> Result<(), Surprise> {
        let named = surprise("GiveBack");
        let begun = Instant::now();
        if let Err(why) = self.close_and_hand_over(primary, to).await {
            let undone = role::reopen_writes(self.at(primary).await?, QUICK).await;
            tracing::info!(pair = %self.pair.name_any(), %why, undone = undone.is_ok(), "way back undone");
            return Err(why);
        }
        self.write_record(record).await?;
        self.point_vip(to).await?;
        self.memory.pause = Some(begun.elapsed());
        let Some(accounts) = self.accounts.clone() else { return Ok(()) };
        tokio::time::sleep(DATA_PLANE).await;
        // All of the child's sessions have moving keys, or nothing to do here.
        let keep = [accounts.operator.user.as_str(), accounts.replication.user.as_str()];
        sessions::end_application_sessions(self.at(primary).await?, &keep, QUICK).await.map(drop).map_err(named)
    }

    async fn close_and_hand_over(&mut self, primary: &str, to: &str) -> Result<(), Surprise> {
        let named = surprise("GiveBack");
        role::close_writes(self.at(primary).await?, BUDGET).await.map_err(&named)?;
        let last = facts::read(self.at(primary).await?, QUICK).await.map_err(&named)?.executed;
        self.other_has("GiveBack", to, &last, true, Instant::now()).await
    }
}

/// The row of a pair's heartbeat: the first ones are the server's own (`mysql::rewind`).
pub(in crate::controller) fn heartbeat_row(pair: &ShardPair) -> u16 {
    FIRST_ROW + u16::try_from(pair.spec.shard).unwrap_or(0)
}

fn members_of(pair: &ShardPair) -> BTreeSet<String> {
    let record = pair.status.as_ref().map(|s| &s.record);
    let recorded = record.into_iter().flat_map(|r| std::iter::once(&r.primary).chain(&r.standby));
    recorded.chain(&pair.spec.members).filter(|n| !n.is_empty()).cloned().collect()
}
