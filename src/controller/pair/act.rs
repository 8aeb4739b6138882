//! Carries out exactly what was decided, in order; makes no choice, stops at the first surprise.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};
use tracing::Instrument;

use super::Runner;
use super::hands::Surprise;
use crate::api::names;
use crate::controller::spans;
use crate::controller::stores::Stores;
use crate::mysql::heartbeat::{self, Outcome};
use crate::mysql::role::OpenAs;
use crate::mysql::{Error, Session, clone, facts, replication, rewind, role, tail};
use crate::pair::record::Record;
use crate::pair::report::Told;
use crate::pair::step::{Decision, Next, Step};

/// A command that MySQL answers at once.
pub(super) const QUICK: Duration = Duration::from_secs(2);
/// A command that may wait for a thread to stop, or for the ack receiver's tick.
pub(super) const SLOW: Duration = Duration::from_secs(5);
/// A clean shutdown takes at most this; a dump thread that is connected holds it up for about 10 s (seen).
const SHUTDOWN: Duration = Duration::from_secs(30);
/// So many surprises in a row are followed by another look at once.
const HASTY: u32 = 3;
/// How long the proof of Sync may take; commits wait as long.
const PROOF: Duration = Duration::from_secs(3);
/// A saved tail is this large at most, bytes; a larger one is not undone, and the condition says so.
const TAIL_BYTES: u64 = 16 << 20;
/// Bytes of it in one Secret, which takes 1 MiB.
const TAIL_PART: usize = 900 << 10;
/// A clone takes as long as the data is large; this is only against one that hangs.
const CLONE: Duration = Duration::from_secs(24 * 3600);
/// Reading a tail takes this long at most.
const TAIL_TIME: Duration = Duration::from_secs(60);

pub(super) fn surprise(step: &str) -> impl Fn(Error) -> Surprise + '_ {
    move |error| Surprise::new(step, error.to_string())
}

impl Runner {
    pub(super) async fn act(&mut self, record: &Record, decision: &Decision) -> Result<(), Surprise> {
        let mut record = record.clone();
        for step in &decision.steps {
            let begun = std::time::Instant::now();
            self.point(step.name()).await;
            let done = self.step(&record, step).instrument(spans::step(step.name(), record.epoch)).await;
            self.memory.acted = Some(std::time::Instant::now());
            done?;
            // What follows is decided for the record that was just written.
            if let Step::WriteRecord(new) = step {
                record = (**new).clone();
            }
            tracing::info!(pair = %self.pair.name_any(), step = step.name(), ms = begun.elapsed().as_millis() as u64, "done");
        }
        self.memory.surprises = 0;
        Ok(())
    }

    /// What a surprise means for the next pass: look again, at once after the first ones, then at leisure.
    pub(super) fn surprised(&mut self) -> Next {
        self.memory.surprises += 1;
        if self.memory.surprises <= HASTY { Next::Soon } else { Next::Tick }
    }

    async fn step(&mut self, record: &Record, step: &Step) -> Result<(), Surprise> {
        let named = step.name();
        let failed = surprise(named);
        match step {
            Step::WriteRecord(new) => {
                self.take_numbers(new).await?;
                self.write_record(new).await
            }
            Step::StopReceiver { member } => replication::stop_receiver(self.at(member).await?, SLOW).await.map_err(failed),
            Step::StartApplier { member } => replication::start_applier(self.at(member).await?, SLOW).await.map_err(failed),
            Step::OpenPrimary { member, ack, linked } => self.open_primary(record, member, *ack, *linked).await,
            Step::RequireAcks { member } => role::require_acks(self.at(member).await?, SLOW).await.map_err(failed),
            Step::RelaxAcks { member } => role::relax_acks(self.at(member).await?, SLOW).await.map_err(failed),
            Step::ProveSync { primary, standby } => self.prove_sync(record, primary, standby).await,
            Step::CloseStandby { member } => role::become_standby(self.at(member).await?, SLOW).await.map_err(failed),
            Step::Attach { member, source, acker } => self.attach(member, source, *acker).await,
            Step::PointVip { member } => self.point_vip(member).await,
            Step::KillProcess { member, pod_uid } => self.delete_pod(member, pod_uid).await,
            Step::ShutDown { member } => role::shut_down(self.at(member).await?, SHUTDOWN).await.map_err(failed),
            Step::SaveTail { member, tail } => self.save_tail(record, member, tail).await,
            Step::Rewind { member, tail, keep, mark, otherwise } => {
                let order = rewind::Order { tail: tail.clone(), keep: keep.clone(), mark: *mark };
                self.rewind(member, &order, otherwise).await
            }
            Step::CompareRows { member, primary, otherwise } => self.compare_rows(member, primary, otherwise).await,
            Step::PlaceMarker { member } => self.place_marker(member).await,
            Step::Clone { member, donor } => self.begin_clone(member, donor).await,
            Step::SwitchOver { from, to, record } => self.switch_over(from, to, record).await,
            Step::Provision { member } => self.provision(record, member).await,
            Step::ApplySettings { member, hash } => self.apply_settings(member, hash).await,
            Step::EnableEvents { member } => role::enable_events(self.at(member).await?, SLOW).await.map(drop).map_err(failed),
            Step::SetMembers { members } => self.set_members(members).await,
            Step::ClearRequest { annotation } => self.clear_request(annotation).await,
            Step::Guard { member, owned, epoch, ddl, unsharded, opens } => self.set_guard(member, (owned, *epoch), (*ddl, *unsharded), *opens).await,
            Step::RetireSessions { member, at_once } => self.retire_sessions(member, *at_once).await,
            Step::RemoveGuard { member } => self.remove_guard(member).await,
            Step::CloseFollower { member } => self.close_follower(member).await,
            Step::Detach { member, drain } => self.detach(member, *drain).await,
            Step::DropRelayLog { member, left } => replication::drop_relay_log(self.at(member).await?, left, SLOW).await.map_err(failed),
            Step::Cede { primary, to, acker, moves, stays, record } => self.cede(primary, (to, acker.as_deref()), (*moves, *stays), record).await,
            Step::GiveBack { primary, to, patience_ms, record } => self.give_back(primary, to, Duration::from_millis(*patience_ms), record).await,
        }
    }

    /// The command session on a member.
    pub(super) async fn at(&mut self, member: &str) -> Result<&mut Session, Surprise> {
        self.hands.session(member).await.map_err(surprise("session"))
    }

    /// Offset of AUTO_INCREMENT: it belongs to the side.
    pub(super) fn open_as(&self, ack: bool, linked: bool) -> OpenAs {
        let offset = self.record().offset.unwrap_or(1);
        OpenAs { ack, interleave: self.settings.interleave_ids.then_some((2, offset)), stop_channel: !linked }
    }

    async fn open_primary(&mut self, record: &Record, member: &str, ack: bool, linked: bool) -> Result<(), Surprise> {
        let how = self.open_as(ack, linked);
        // The record may have changed since it was read: what was decided is for this epoch only.
        if self.record().epoch != record.epoch {
            return Err(Surprise::new("OpenPrimary", "the record has moved on"));
        }
        self.open(member, how, "OpenPrimary", SLOW).await
    }

    /// Opens a member, as part of the step `doing`. While a split runs no session may give the other side's ids.
    pub(super) async fn open(&mut self, member: &str, how: OpenAs, doing: &'static str, deadline: Duration) -> Result<(), Surprise> {
        if let (Some(numbers), Some(_), Some(accounts)) = (how.interleave, &self.settings.split, self.accounts.clone()) {
            let ended = role::number_ids(self.at(member).await?, numbers, &accounts.users(), QUICK).await.map_err(surprise(doing))?;
            if ended > 0 {
                tracing::info!(pair = %self.pair.name_any(), member, ended, "sessions with the other side's ids ended");
            }
        }
        role::open_primary(self.at(member).await?, how, deadline).await.map_err(surprise(doing))
    }

    /// A heartbeat begun now waits for its acknowledgement, so the only acker has everything before it in the binary log;
    /// then all that the primary has executed is awaited on the standby (invariant 2).
    async fn prove_sync(&mut self, record: &Record, primary: &str, standby: &str) -> Result<(), Surprise> {
        let named = surprise("ProveSync");
        let (row, epoch) = (super::split::heartbeat_row(&self.pair), record.epoch);
        let session = self.at(primary).await?;
        // A primary that follows another writes nothing; what it holds then is looked at once more before it may open.
        if record.follows.is_none() {
            match heartbeat::beat(session, row, epoch, PROOF).await {
                Outcome::Written => {}
                other => return Err(Surprise::new("ProveSync", format!("{primary}: {other:?}"))),
            }
        }
        let seen = facts::read(session, QUICK).await.map_err(&named)?;
        let source = seen.source;
        if !(source.enabled && source.on && source.clients == 1 && source.wait_count == 1 && !source.altered) {
            return Err(Surprise::new("ProveSync", format!("{primary} doesn't wait for one acker: {source:?}")));
        }
        replication::wait_received(self.at(standby).await?, &seen.executed, PROOF).await.map_err(&named)
    }

    pub(super) async fn attach(&mut self, member: &str, source: &str, acker: bool) -> Result<(), Surprise> {
        let named = surprise("Attach");
        let Some(accounts) = self.accounts.clone() else { return Err(Surprise::new("Attach", "no accounts")) };
        let Some(host) = self.address(source) else { return Err(Surprise::new("Attach", format!("{source} has no Service yet"))) };
        let source = replication::Source { host, port: names::PORT as u16 };
        let session = self.at(member).await?;
        match acker {
            true => replication::attach(session, &source, &accounts.replication, SLOW).await,
            false => replication::follow(session, &source, &accounts.replication, SLOW).await,
        }
        .map_err(named)
    }

    /// Cluster IP of the member's own Service: where its peer replicates from.
    pub(super) fn address(&self, member: &str) -> Option<String> {
        let service = Stores::get(&self.ctx.stores.services, &self.namespace, member)?;
        service.spec.as_ref()?.cluster_ip.clone().filter(|ip| ip != "None")
    }

    /// A readable file in a Secret `<member>-tail-<epoch>`, and an event that names it (invariant 8).
    async fn save_tail(&mut self, record: &Record, member: &str, beyond: &crate::mysql::gtid::GtidSet) -> Result<(), Surprise> {
        let named = surprise("SaveTail");
        // A binlog stream ends its session: one of its own.
        let endpoint = self.at(member).await?.endpoint().clone();
        let Some(accounts) = self.accounts.clone() else { return Err(Surprise::new("SaveTail", "no accounts")) };
        let session = Session::connect(&endpoint, &accounts.operator, QUICK).await.map_err(&named)?;
        let saved = tail::save(session, beyond, TAIL_BYTES, TAIL_TIME).await.map_err(&named)?;
        let parts = crate::manifests::tail::parts(&saved.text, TAIL_PART);
        let mut first = String::new();
        for (number, part) in parts.iter().enumerate() {
            let secret = crate::manifests::tail::build(&self.pair, member, record.epoch, number, part);
            if number == 0 {
                first = secret.name_any();
            }
            self.create_secret(&secret).await?;
        }
        let name = if parts.len() == 1 { first } else { format!("{first} and {} more", parts.len() - 1) };
        let message = format!("{} transactions of {member} that were never acknowledged are kept in Secret {name}", beyond.count());
        self.tell(Told { warning: true, reason: crate::api::events::TAIL_SAVED, message });
        Ok(())
    }

    async fn create_secret(&self, secret: &Secret) -> Result<(), Surprise> {
        let secrets: Api<Secret> = Api::namespaced(self.ctx.client.clone(), &self.namespace);
        match tokio::time::timeout(SLOW, secrets.create(&Default::default(), secret)).await {
            Ok(Ok(_)) => Ok(()),
            // Saved before, by a pass that was interrupted.
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => Ok(()),
            Ok(Err(error)) => Err(Surprise::new("SaveTail", error.to_string())),
            Err(_) => Err(Surprise::new("SaveTail", "no answer from the API server")),
        }
    }

    async fn place_marker(&mut self, member: &str) -> Result<(), Surprise> {
        let named = surprise("PlaceMarker");
        clone::mark(self.at(member).await?, SLOW).await.map_err(named)
    }

    /// In the background, in a session of its own: it takes as long as the data is large.
    async fn begin_clone(&mut self, member: &str, donor: &str) -> Result<(), Surprise> {
        if self.clone.as_ref().is_some_and(|c| !c.is_finished()) || self.memory.clones.too_soon() {
            return Ok(());
        }
        let Some(accounts) = self.accounts.clone() else { return Err(Surprise::new("Clone", "no accounts")) };
        let Some(host) = self.address(donor) else { return Err(Surprise::new("Clone", format!("{donor} has no Service yet"))) };
        let donor = replication::Source { host, port: names::PORT as u16 };
        let endpoint = self.at(member).await?.endpoint().clone();
        let named = surprise("Clone");
        let session = Session::connect(&endpoint, &accounts.operator, QUICK).await.map_err(named)?;
        if let Some(prober) = self.probers.get(member) {
            prober.keep(session.id());
        }
        let (pair, member) = (self.pair.name_any(), member.to_owned());
        let attempts = self.memory.clones.clone();
        attempts.begin();
        self.clone = Some(tokio::spawn(async move {
            let begun = std::time::Instant::now();
            let mut session = session;
            match clone::clone_from(&mut session, &donor, &accounts.replication, CLONE).await {
                Ok(()) => {
                    attempts.succeeded();
                    tracing::info!(pair, member, ms = begun.elapsed().as_millis() as u64, "cloned");
                }
                Err(error) => tracing::warn!(pair, member, %error, "clone"),
            }
        }));
        Ok(())
    }
}
