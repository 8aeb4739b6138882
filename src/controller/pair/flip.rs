//! The flip and the way back, carried out as decided: what keys wait for.
//!
//! All that can be done before they wait is done before: the sessions on the other side are made, which only look. Behind
//! the fence are left the fence itself, one commit, what the child has still to apply, and the record.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::ResourceExt;

use super::Runner;
use super::act::{QUICK, surprise};
use super::hands::Surprise;
use super::split::{BUDGET, heartbeat_row};
use super::switchover::DATA_PLANE;
use crate::mysql::gtid::GtidSet;
use crate::mysql::heartbeat::{self, Outcome};
use crate::mysql::{Session, guard, replication, role, sessions};
use crate::pair::record::Record;

/// A look at who answers on the other side takes at most this, before anybody waits.
const CONNECT: Duration = Duration::from_secs(1);

/// Sessions on the other side's primary and on its acker.
struct Lookouts {
    primary: Session,
    acker: Option<Session>,
}

impl Lookouts {
    /// Waits until the primary has executed all of this, and the acker holds it.
    async fn wait(&mut self, step: &str, all: &GtidSet, patience: Duration) -> Result<(), Surprise> {
        let (there, with_acker) = tokio::join!(replication::wait_executed(&mut self.primary, all, patience), async {
            match &mut self.acker {
                Some(acker) => replication::wait_received(acker, all, patience).await,
                None => Ok(()),
            }
        });
        there.and(with_acker).map_err(surprise(step))
    }
}

impl Runner {
    /// See [`crate::pair::step::Step::Cede`]. What fails before the record is written is undone here at once; where this
    /// doesn't get to it, the guard's rows follow the record in the next pass.
    pub(super) async fn cede(&mut self, primary: &str, to: (&str, Option<&str>), classes: (u32, u32), record: &Record) -> Result<(), Surprise> {
        let mut record = record.clone();
        let mut lookouts = self.lookouts("Cede", to.0, to.1).await?;
        self.at(primary).await?;
        if let Some(ceded) = &mut record.ceded {
            ceded.fenced_at = MicroTime(Timestamp::now());
        }
        let map_epoch = self.pair.spec.split.as_ref().and_then(|s| s.map_epoch).unwrap_or_default();
        if let Err(why) = self.fence(primary, &mut lookouts, (classes.0, map_epoch), &mut record).await {
            let both = BTreeSet::from([classes.0, classes.1]);
            let undone = match self.at(primary).await {
                Ok(session) => guard::set_owned(session, &both, map_epoch).await.map_err(surprise("Cede")),
                Err(surprise) => Err(surprise),
            };
            tracing::info!(pair = %self.pair.name_any(), %why, undone = undone.is_ok(), "flip undone");
            self.memory.undone = Some(why.to_string());
            return Err(why);
        }
        self.point("Cede.fenced").await;
        self.write_record(&record).await
    }

    /// Refuse the moving keys; then all that passed before is on the child's members.
    async fn fence(&mut self, primary: &str, lookouts: &mut Lookouts, (moves, map_epoch): (u32, i64), record: &mut Record) -> Result<(), Surprise> {
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
        lookouts.wait("Cede", &last, BUDGET).await?;
        let ms = |d: Duration| d.as_millis() as u64;
        tracing::info!(pair = %self.pair.name_any(), fence_ms = ms(fenced), beat_ms = ms(beaten - fenced), apply_ms = ms(begun.elapsed() - beaten), "fenced");
        Ok(())
    }

    async fn lookouts(&self, step: &str, primary: &str, acker: Option<&str>) -> Result<Lookouts, Surprise> {
        let (primary, acker) = tokio::join!(self.lookout(step, primary), async {
            match acker {
                Some(acker) => self.lookout(step, acker).await.map(Some),
                None => Ok(None),
            }
        });
        Ok(Lookouts { primary: primary?, acker: acker? })
    }

    /// A session on a member of the other side, which is who that pair's record says. It waits and commands nothing.
    async fn lookout(&self, step: &str, member: &str) -> Result<Session, Surprise> {
        let no = |what: &str| Surprise::new(step, format!("{member}: {what}"));
        let prober = self.ctx.members.find(&self.namespace, member).ok_or_else(|| no("isn't watched"))?;
        let mut session = prober.connect().await.map_err(surprise(step))?;
        let uuid = session.scalar("SELECT @@server_uuid", CONNECT).await.map_err(surprise(step))?;
        let other = self.other_pair().and_then(|p| p.status.as_ref()?.record.member(member).map(|m| m.server_uuid.clone()));
        match (uuid, other) {
            (Some(uuid), Some(recorded)) if uuid == recorded && self.ctx.leadership.holds() => Ok(session),
            _ => Err(no("isn't the server of the record, or this operator doesn't lead")),
        }
    }

    /// See [`crate::pair::step::Step::GiveBack`]. What fails before the record is written is undone here at once, else by
    /// the ordinary rules: the primary is still recorded as open.
    pub(super) async fn give_back(&mut self, primary: &str, to: &str, patience: Duration, record: &Record) -> Result<(), Surprise> {
        let named = surprise("GiveBack");
        let mut lookouts = self.lookouts("GiveBack", to, None).await?;
        self.at(primary).await?;
        let begun = Instant::now();
        if let Err(why) = self.close_and_hand_over(primary, &mut lookouts, patience).await {
            let undone = role::reopen_writes(self.at(primary).await?, QUICK).await;
            tracing::info!(pair = %self.pair.name_any(), %why, undone = undone.is_ok(), "way back undone");
            self.memory.undone = Some(why.to_string());
            return Err(why);
        }
        self.point("GiveBack.closed").await;
        self.write_record(record).await?;
        self.point("GiveBack.vip").await;
        self.point_vip(to).await?;
        self.memory.pause = Some(begun.elapsed());
        let Some(accounts) = self.accounts.clone() else { return Ok(()) };
        tokio::time::sleep(DATA_PLANE).await;
        // All of the child's sessions have moving keys, or nothing to do here.
        sessions::end_application_sessions(self.at(primary).await?, &accounts.users(), QUICK).await.map(drop).map_err(named)
    }

    async fn close_and_hand_over(&mut self, primary: &str, lookouts: &mut Lookouts, patience: Duration) -> Result<(), Surprise> {
        let named = surprise("GiveBack");
        let begun = Instant::now();
        role::close_writes(self.at(primary).await?, BUDGET).await.map_err(&named)?;
        let closed = begun.elapsed();
        let last = replication::state(self.at(primary).await?, QUICK).await.map_err(&named)?.executed;
        lookouts.wait("GiveBack", &last, patience).await?;
        let ms = |d: Duration| d.as_millis() as u64;
        tracing::info!(pair = %self.pair.name_any(), close_ms = ms(closed), apply_ms = ms(begun.elapsed() - closed), "closed");
        Ok(())
    }
}
