//! The audit of one split shard since its flip: what both primaries' binary logs say was written, and by whom.
//!
//! Where it begins is recorded, not remembered: of the parent what its primary had executed at the fence (`ceded.executed`), of the child
//! everything that its own members wrote, who owned nothing before. So a new operator, or a promoted standby, is looked at from there
//! again. What was looked at already is kept as long as this operator leads.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::ResourceExt;

use super::purge;
use super::work::{Desk, Errand, Looked};
use crate::api::pair::ShardPair;
use crate::expansion::facts::Audit;
use crate::mysql::audit::{self, Found, Side, Start};
use crate::mysql::gtid::GtidSet;
use crate::mysql::replication;
use crate::pair::record::Ceded;
use crate::pair::split::LinkState;
use crate::routing::Guard;

/// A look at one primary's binary logs; it goes on where it ended only when it came to its end.
const READ: Duration = Duration::from_secs(120);
/// DDL statements that are kept.
const DDL_LIMIT: usize = 10;

/// Both sides, from where the last look ended.
pub(super) async fn run(desk: &Desk, shard: u32, errand: &Errand) -> Result<(), String> {
    let (begun, now) = (Instant::now(), Timestamp::now());
    let child = shard + errand.to_shards / 2;
    let pairs = [desk.pair(shard)?, desk.pair(child)?];
    pairs.iter().try_for_each(standing)?;
    let ceded = pairs[0].status.as_ref().and_then(|s| s.record.ceded.clone()).ok_or("nothing is ceded")?;
    let guard = purge::guard(desk, shard)?;
    let looked = desk.ask(|found| found.looked.get(&shard).filter(|l| l.ceded == ceded.epoch).cloned()).unwrap_or_default();
    let known = desk.ask(|found| found.audits.get(&shard).filter(|a| a.ceded == ceded.epoch).cloned());
    let mut all = known.unwrap_or(Audit { ceded: ceded.epoch, ..Audit::default() });
    let mut after = Looked { ceded: ceded.epoch, ..Looked::default() };
    let sides = [(shard, &pairs[0], BTreeSet::from([guard.stays])), (child, &pairs[1], guard.childs())];
    for (number, pair, owned) in sides {
        let since = looked.until.get(&number).cloned();
        let found = look(desk, pair, &guard, owned, since, (number == shard).then_some(&ceded)).await?;
        after.until.insert(number, found.until.clone());
        add(&mut all, &pair.name_any(), found);
    }
    (all.until, all.error, after.took) = (Some(now), None, begun.elapsed());
    desk.tell(|found| {
        found.audits.insert(shard, all);
        found.looked.insert(shard, after);
    });
    Ok(())
}

/// Does the link carry and apply everything? A row that collides with another stops an applier.
fn standing(pair: &ShardPair) -> Result<(), String> {
    let split = pair.status.as_ref().and_then(|s| s.split.clone()).unwrap_or_default();
    // A link that a failover broke carries nothing any more, and is no sign of misrouted rows.
    if matches!(split.link, LinkState::Standing | LinkState::Broken | LinkState::Gone) {
        return Ok(());
    }
    let other = pair.spec.split.as_ref().map(|s| s.other.clone()).unwrap_or_default();
    Err(format!("{}: its channel to {other} is {:?}: {}", pair.name_any(), split.link, split.message))
}

async fn look(desk: &Desk, pair: &ShardPair, guard: &Guard, owned: BTreeSet<u32>, since: Option<GtidSet>, parent: Option<&Ceded>) -> Result<Found, String> {
    let record = pair.status.as_ref().map(|s| s.record.clone()).unwrap_or_default();
    let servers: BTreeSet<String> = record.members.iter().map(|m| m.server_uuid.clone()).filter(|uuid| !uuid.is_empty()).collect();
    let (stream, mut ask) = (desk.session(&record.primary).await?, desk.session(&record.primary).await?);
    let start = match (since, parent) {
        (Some(since), _) => Start { since, since_us: 0 },
        (None, Some(ceded)) if !ceded.executed.is_empty() => {
            let since = GtidSet::parse(&ceded.executed).map_err(|e| format!("{}: what it had executed at the flip can't be read: {e}", pair.name_any()))?;
            Start { since, since_us: 0 }
        }
        (None, Some(_)) => audit::start(&mut ask).await.map_err(|e| e.to_string())?,
        (None, None) => {
            let all = replication::global(&mut ask, "gtid_executed", READ).await.map_err(|e| e.to_string())?;
            Start { since: servers.iter().fold(all, |rest, uuid| rest.without_source(uuid)), since_us: 0 }
        }
    };
    audit::read(stream, &mut ask, guard, &Side { servers, owned }, &start, READ).await.map_err(|e| e.to_string())
}

/// What is found stays found.
fn add(all: &mut Audit, pair: &str, found: Found) {
    all.misrouted = all.misrouted.saturating_add(i64::try_from(found.misrouted).unwrap_or(i64::MAX));
    all.example = all.example.take().or(found.example);
    let room = DDL_LIMIT.saturating_sub(all.ddl.len());
    all.ddl.extend(found.ddl.into_iter().take(room).map(|sql| format!("{pair}: {sql}")));
    if !found.missing.is_empty() {
        all.blind = all.blind.take().or(Some(format!("{pair}: the binary logs with {} of its transactions are gone", found.missing.count())));
    }
    if found.unreadable > 0 {
        all.blind = all.blind.take().or(Some(format!("{pair}: {} row events in its binary logs can't be read", found.unreadable)));
    }
}
