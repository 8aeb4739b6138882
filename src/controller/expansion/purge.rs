//! The purge of one split: both sides, one after the other, then a second look and a comparison of members.
//!
//! Between any two transactions it is asked again whether this operator leads and whether both pairs still say that the link is
//! proven gone: a delete that followed a link would hit live rows. Interrupted, the next run goes on where this one ended.

use std::time::{Duration, Instant};

use kube::ResourceExt;

use super::work::{Desk, Errand};
use crate::api::expansion::Throttled;
use crate::api::pair::ShardPair;
use crate::controller::pair::split::{guard_of, heartbeat_row};
use crate::expansion::facts;
use crate::mysql::purge::policy::Limits;
use crate::mysql::purge::{self, Progress, Purge};
use crate::mysql::session::Session;
use crate::mysql::verify;
use crate::routing::Guard;

/// Progress is told this often.
const TELL: Duration = Duration::from_millis(500);

/// Both sides, until nothing foreign is left on any member.
pub(super) async fn run(desk: &Desk, shard: u32, errand: &Errand) -> Result<(), String> {
    let child = shard + errand.to_shards / 2;
    let guard = guard(desk, shard)?;
    let sides = [(shard, guard.moves), (child, guard.stays)];
    let mut done = Progress::default();
    for (number, foreign) in sides {
        let after = one_side(desk, (shard, child), number, &guard, foreign, errand, &done).await?;
        (done.scanned, done.deleted) = (done.scanned + after.scanned, done.deleted + after.deleted);
        done.estimated += after.estimated.max(after.scanned);
    }
    for (number, foreign) in sides {
        verified(desk, number, &guard, foreign).await?;
    }
    for (number, _) in sides {
        purge::forget(&mut desk.primary(number).await?).await.map_err(|e| e.to_string())?;
    }
    desk.tell(|found| {
        let all = found.purges.entry(shard).or_default();
        (all.verified, all.throttled) = (true, None);
    });
    Ok(())
}

/// The guard that both sides have.
pub(super) fn guard(desk: &Desk, shard: u32) -> Result<Guard, String> {
    let (cluster, pair) = (desk.cluster()?, desk.pair(shard)?);
    let split = pair.spec.split.as_ref().ok_or(format!("nothing is asked of {}", pair.name_any()))?;
    guard_of(&cluster.sharding, split)
}

fn may(desk: &Desk, sides: (u32, u32)) -> Result<(), String> {
    if !desk.ctx.leadership.holds() {
        return Err("this operator doesn't lead".to_owned());
    }
    for shard in [sides.0, sides.1] {
        let pair = desk.pair(shard)?;
        let parted = pair.status.as_ref().and_then(|s| s.split.as_ref()).is_some_and(|s| s.may_purge());
        if !parted {
            return Err(format!("{} doesn't say that the link is gone", pair.name_any()));
        }
    }
    Ok(())
}

/// Primary and standby as they are recorded.
async fn members(desk: &Desk, pair: &ShardPair) -> Result<(Session, Session), String> {
    let record = pair.status.clone().unwrap_or_default().record;
    let standby = record.standby.ok_or(format!("{} has no standby", pair.name_any()))?;
    Ok((desk.session(&record.primary).await?, desk.session(&standby).await?))
}

async fn one_side(desk: &Desk, sides: (u32, u32), number: u32, guard: &Guard, foreign: u32, errand: &Errand, before: &Progress) -> Result<Progress, String> {
    may(desk, sides)?;
    let pair = desk.pair(number)?;
    let (mut primary, mut standby) = members(desk, &pair).await?;
    let mut probe = desk.primary(number).await?;
    let limits = Limits::new(errand.chunk_rows, Duration::from_millis(errand.max_standby_lag_ms));
    let epoch = pair.status.as_ref().map_or(0, |s| s.record.epoch);
    let row = heartbeat_row(&pair);
    let begun = Purge::begin((&mut primary, &mut standby, &mut probe), guard, foreign, limits, (row, epoch)).await;
    let mut running = begun.map_err(|e| e.to_string())?;
    let (mut told, mut now) = (None::<Instant>, running.progress());
    while !now.done {
        may(desk, sides)?;
        now = running.step().await.map_err(|e| e.to_string())?;
        if now.done || told.is_none_or(|at| at.elapsed() > TELL) {
            told = Some(Instant::now());
            tell(desk, sides.0, before, &now);
        }
    }
    Ok(now)
}

fn tell(desk: &Desk, shard: u32, before: &Progress, now: &Progress) {
    let sum = |before: u64, now: u64| i64::try_from(before + now).unwrap_or(i64::MAX);
    // Of the side that has not begun nothing is known yet: as many as this one's.
    let other = if before.estimated == 0 { now.estimated } else { before.estimated };
    desk.tell(|found| {
        found.purges.insert(shard, facts::Purge {
            scanned: sum(before.scanned, now.scanned),
            deleted: sum(before.deleted, now.deleted),
            estimated: sum(other, now.estimated),
            throttled: now.throttled.map(|t| Throttled { reason: t.word().to_owned() }),
            verified: false,
            error: None,
        });
    });
}

/// No foreign row on either member, and both hold the same.
async fn verified(desk: &Desk, number: u32, guard: &Guard, foreign: u32) -> Result<(), String> {
    let pair = desk.pair(number)?;
    let (mut primary, mut standby) = members(desk, &pair).await?;
    for session in [&mut primary, &mut standby] {
        let found = verify::count(session, guard, foreign).await.map_err(|e| e.to_string())?;
        if let Some(example) = found.example {
            return Err(format!("{}: {} foreign rows are left, such as {example}", session.member(), found.foreign));
        }
    }
    let differ = verify::differences(&mut primary, &mut standby, guard, 5).await.map_err(|e| e.to_string())?;
    if differ.is_empty() { Ok(()) } else { Err(format!("{}: primary and standby differ: {}", pair.name_any(), differ.join("; "))) }
}
