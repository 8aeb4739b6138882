//! What a split asks of a pair, what is seen of the other side, and its steps, carried out exactly as decided.
//!
//! A runner commands the members of its own pair only; those of the other side it sees through that pair's probers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;

use super::Runner;
use super::act::{SLOW, surprise};
use super::hands::Surprise;
use crate::api::cluster::{Sharding, Strategy};
use crate::api::pair::{ShardPair, Split, SplitKeys, SplitRole};
use crate::controller::prober::Prober;
use crate::controller::stores::Stores;
use crate::mysql::facts::Asked;
use crate::mysql::{guard, replication, role};
use crate::pair::facts::Other;
use crate::pair::record::Record;
use crate::pair::settings::{GuardWanted, SplitWanted};
use crate::routing::{Guard, Keys, Table};

/// Keys that move may wait this long for the fence, and then this long for the other side to have everything.
pub(super) const BUDGET: Duration = Duration::from_secs(1);
/// A trigger may wait this long for open transactions in one pass; the next goes on.
const PLACE: Duration = Duration::from_secs(2);
/// Heartbeat row of shard 0.
const FIRST_ROW: u16 = 16;
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
            let member = self.elsewhere(&name);
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
    pub(super) async fn set_guard(&mut self, member: &str, (owned, epoch): (&BTreeSet<u32>, i64), (ddl, unsharded): (bool, bool), opens: bool) -> Result<(), Surprise> {
        let named = surprise("Guard");
        let Some(wanted) = self.guard.clone() else { return Err(Surprise::new("Guard", "no guard can be made")) };
        let app = self.memory.app.as_ref().map(|(_, app)| app.user.clone());
        let databases = self.databases();
        let session = self.at(member).await?;
        let there = guard::read(session).await.map_err(&named)?.unwrap_or_default();
        if there.hash != wanted.hash() {
            guard::place(session, &wanted, owned, epoch, PLACE).await.map_err(&named)?;
        } else if opens && owned.is_superset(&there.owned) && there.owned != *owned {
            guard::give(session, owned, epoch).await.map_err(&named)?;
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
