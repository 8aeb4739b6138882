//! The scripted world carries out a decision, one step after the other, and stops at the first surprise.

use shardpair::mysql::gtid::GtidSet;
use shardpair::pair::facts::ReceiverState;
use shardpair::pair::record::{AppliedSettings, MoveKind, Record};
use shardpair::pair::step::{Decision, Step};

use super::world::World;

/// Why not all steps were carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    Surprise(String),
    Killed,
}

impl World {
    pub fn act(&mut self, decision: &Decision) -> Result<(), Stopped> {
        decision.steps.iter().try_for_each(|step| self.step(step))
    }

    /// Before each command: has the operator been killed?
    pub(super) fn burn(&mut self) -> Result<(), Stopped> {
        self.spent += 1;
        match &mut self.fuel {
            Some(0) => Err(Stopped::Killed),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// A command needs a member that answers.
    pub(super) fn at(&mut self, name: &str) -> Result<(), Stopped> {
        let answers = self.bodies.get(name).is_some_and(|b| b.alive && !b.hung && !b.unseen);
        if answers { Ok(()) } else { Err(Stopped::Surprise(format!("{name} doesn't answer"))) }
    }

    fn drained(&mut self, name: &str) -> Result<(), Stopped> {
        let facts = &mut self.body(name).facts;
        let Some(channel) = &mut facts.channel else { return Ok(()) };
        channel.receiver = ReceiverState::Off;
        if facts.executed.contains(&channel.received) { Ok(()) } else { Err(Stopped::Surprise(format!("{name} isn't drained"))) }
    }

    fn step(&mut self, step: &Step) -> Result<(), Stopped> {
        match step {
            Step::SwitchOver { from, to, record } => return self.switch_over(from, to, record),
            Step::Cede { primary, to, acker, record, .. } => return self.cede(primary, to, acker.as_deref(), record),
            Step::GiveBack { primary, to, patience_ms, record } => return self.give_back(primary, to, *patience_ms, record),
            _ => {}
        }
        self.burn()?;
        match step {
            Step::WriteRecord(record) => self.write_record(record),
            Step::StopReceiver { member } => {
                self.at(member)?;
                if let Some(channel) = &mut self.body(member).facts.channel {
                    channel.receiver = ReceiverState::Off;
                }
            }
            Step::StartApplier { member } => {
                self.at(member)?;
                if let Some(channel) = &mut self.body(member).facts.channel {
                    (channel.applier_running, channel.applier_error) = (true, String::new());
                }
            }
            Step::OpenPrimary { member, ack, linked } => {
                self.at(member)?;
                if !linked {
                    self.drained(member)?;
                }
                self.open(member, *ack, *linked);
            }
            Step::RequireAcks { member } => self.require_acks(member)?,
            Step::RelaxAcks { member } => {
                self.at(member)?;
                let source = &mut self.body(member).facts.source;
                (source.enabled, source.on) = (false, false);
                self.release(member);
            }
            Step::ProveSync { primary, standby } => self.prove(primary, standby)?,
            Step::CloseStandby { member } => self.close(member)?,
            Step::Attach { member, source, acker } => self.attach(member, source, *acker)?,
            Step::PointVip { member } => self.point_vip(member)?,
            Step::KillProcess { member, pod_uid } => self.kill(member, pod_uid),
            Step::ShutDown { member } => {
                self.at(member)?;
                assert!(!self.body(member).facts.source.enabled, "a source that is shut down releases its waiting commits");
            }
            Step::SaveTail { member, tail } => {
                self.at(member)?;
                self.saved.push((member.clone(), tail.clone()));
            }
            Step::Rewind { member, tail, keep, mark, otherwise } => self.rewind(member, (tail, keep, *mark), otherwise)?,
            Step::CompareRows { member, primary, otherwise } => {
                self.at(member)?;
                self.at(primary)?;
                if self.bodies[member].differs {
                    self.write_record(otherwise);
                } else {
                    self.body(member).facts.rewound = None;
                }
            }
            Step::PlaceMarker { member } => {
                self.at(member)?;
                self.body(member).facts.rebuild_marker = true;
            }
            Step::Clone { member, donor } => {
                self.at(member)?;
                self.body(member).cloning = Some(donor.clone());
            }
            Step::SwitchOver { .. } | Step::Cede { .. } | Step::GiveBack { .. } => unreachable!("above"),
            Step::Guard { member, owned, ddl, unsharded, .. } => self.set_guard(member, owned, *ddl, *unsharded)?,
            Step::RetireSessions { member, at_once } => self.retire_sessions(member, *at_once)?,
            Step::RemoveGuard { member } => {
                self.at(member)?;
                self.body(member).facts.guard = None;
            }
            Step::CloseFollower { member } => {
                self.at(member)?;
                let body = self.body(member);
                if body.held {
                    return Err(Stopped::Surprise(format!("{member}: a commit waits; open as before")));
                }
                (body.lifted, body.facts.super_read_only, body.facts.offline_mode, body.facts.events_on) = (false, true, false, false);
            }
            Step::Detach { member, drain } => self.detach(member, *drain)?,
            Step::DropRelayLog { member, left } => {
                self.at(member)?;
                let body = self.body(member);
                let dropped = body.facts.channel.take().map_or_else(GtidSet::default, |c| c.received.subtract(&body.facts.executed));
                assert!(left.contains(&dropped), "{member} drops {dropped}");
                body.breaks = None;
            }
            Step::Provision { member } => {
                self.at(member)?;
                self.body(member).facts.epoch = Some(self.record.epoch);
                self.seen.unprovisioned = false;
                (0..3).for_each(|_| self.write_heartbeat(member));
            }
            Step::ApplySettings { member, hash } => {
                self.at(member)?;
                let process = self.body(member).facts.process.clone();
                self.record.member_mut(member).settings = Some(AppliedSettings { process, hash: hash.clone(), ..Default::default() });
            }
            Step::EnableEvents { member } => {
                self.at(member)?;
                self.body(member).facts.events_disabled = 0;
            }
            Step::SetMembers { members } => self.settings.members = members.clone(),
            Step::ClearRequest { annotation } => self.clear(annotation),
        }
        Ok(())
    }

    /// Of this pair or of the other side.
    pub(super) fn point_vip(&mut self, member: &str) -> Result<(), Stopped> {
        let other = self.parked.as_ref().and_then(|p| p.seen.members.get(member));
        let pod = self.seen.members.get(member).or(other).and_then(|m| m.pod.as_ref());
        let Some(ip) = pod.and_then(|p| p.ip.clone()) else { return Err(Stopped::Surprise(format!("the pod of {member} has no address"))) };
        self.seen.vip.points_to = Some(ip);
        Ok(())
    }

    fn clear(&mut self, annotation: &str) {
        *self.request_field(annotation.trim_start_matches("shardpair.io/")) = None;
    }

    /// Where the request of a kind stands.
    pub(super) fn request_field(&mut self, kind: &str) -> &mut Option<String> {
        let requests = &mut self.seen.requests;
        match kind {
            "switchover-to" => &mut requests.switchover_to,
            "promote-with-data-loss" => &mut requests.promote_with_data_loss,
            "replace" => &mut requests.replace,
            "rebuild" => &mut requests.rebuild,
            "discard-tail" => &mut requests.discard_tail,
            other => panic!("no request {other}"),
        }
    }

    pub(super) fn write_record(&mut self, record: &Record) {
        let old = std::mem::replace(&mut self.record, record.clone());
        if let Some(broken) = self.broken_record_law(&old, record) {
            panic!("{broken}: {old:?} -> {record:?}");
        }
        let person = old.transition.as_ref().is_some_and(|t| t.kind == MoveKind::PromoteWithDataLoss);
        if person && old.primary != record.primary {
            // A person named the loss: what only the old primary holds is no longer promised.
            let kept = self.bodies[&record.primary].facts.executed.clone();
            self.acked = self.acked.intersection(&kept);
        }
    }

    /// As `mysql::rewind` does it: inverse and mark in one commit, then the GTID sets; killed between any two of these.
    fn rewind(&mut self, member: &str, (tail, keep, mark): (&GtidSet, &GtidSet, i64), otherwise: &Record) -> Result<(), Stopped> {
        self.at(member)?;
        if self.bodies[member].facts.rewound != Some(mark) {
            if self.bodies[member].uninvertible {
                self.write_record(otherwise);
                return Ok(());
            }
            assert_eq!(self.bodies[member].facts.executed, keep.union(tail), "{member} isn't as it was recorded");
            let body = self.body(member);
            (body.undone, body.facts.rewound) = (body.undone.union(tail), Some(mark));
        }
        self.burn()?;
        if self.bodies[member].facts.executed != *keep {
            self.body(member).facts.executed = GtidSet::default();
        }
        self.burn()?;
        let body = self.body(member);
        (body.facts.executed, body.facts.purged) = (keep.clone(), keep.clone());
        body.undone = body.undone.intersection(keep);
        Ok(())
    }

    fn require_acks(&mut self, member: &str) -> Result<(), Stopped> {
        self.at(member)?;
        let source = &mut self.body(member).facts.source;
        if !source.enabled {
            source.wait_count = 1;
        }
        (source.enabled, source.on, source.altered) = (true, true, false);
        Ok(())
    }

    /// A transaction that waits for its acknowledgement, then everything is awaited on the standby.
    fn prove(&mut self, primary: &str, standby: &str) -> Result<(), Stopped> {
        self.at(primary)?;
        let source = self.body(primary).facts.source;
        if !source.enabled || source.wait_count != 1 {
            return Err(Stopped::Surprise(format!("{primary} doesn't wait for one acker")));
        }
        if self.record.follows.is_none() {
            self.write_heartbeat(primary);
        }
        let clients = self.body(primary).facts.source.clients;
        if clients != 1 || !self.body(primary).pending.is_empty() {
            return Err(Stopped::Surprise(format!("{primary}: no acknowledgement within 3 s")));
        }
        self.at(standby)?;
        let all = self.body(primary).facts.executed.clone();
        if self.body(standby).facts.holds().contains(&all) { Ok(()) } else { Err(Stopped::Surprise(format!("{standby} doesn't receive all within 3 s"))) }
    }

    fn close(&mut self, member: &str) -> Result<(), Stopped> {
        self.at(member)?;
        let body = self.body(member);
        if !body.pending.is_empty() {
            return Err(Stopped::Surprise(format!("commits wait on {member}")));
        }
        let facts = &mut body.facts;
        (facts.super_read_only, facts.offline_mode, facts.events_on) = (true, false, false);
        (facts.source.enabled, facts.source.on) = (false, false);
        Ok(())
    }

    fn attach(&mut self, member: &str, source: &str, acker: bool) -> Result<(), Stopped> {
        self.at(member)?;
        let host = format!("svc-{source}");
        if self.body(member).facts.channel.as_ref().is_some_and(|c| c.source_host != host) {
            self.drained(member)?;
        }
        let facts = &mut self.body(member).facts;
        if facts.replica_enabled != acker && let Some(channel) = &mut facts.channel {
            channel.receiver = ReceiverState::Off;
        }
        if let Some(channel) = &mut facts.channel {
            channel.applier_error = String::new();
        }
        self.connect(member, source, acker);
        Ok(())
    }

    fn kill(&mut self, member: &str, pod_uid: &str) {
        let pod = self.seen.members[member].pod.clone().unwrap_or_default();
        if pod.uid != pod_uid {
            return;
        }
        if self.bodies[member].unlinked && self.bodies[member].unseen {
            // A node that is cut off: the order waits there.
            self.seen.members.get_mut(member).and_then(|m| m.pod.as_mut()).expect("a pod").terminating = true;
        } else {
            self.die(member, true);
        }
    }

    /// As `controller::pair::switchover` does it; killed or surprised between any two of its commands.
    fn switch_over(&mut self, from: &str, to: &str, record: &Record) -> Result<(), Stopped> {
        for number in 1..=8 {
            self.burn()?;
            if self.switchover_fails_at == Some(number) {
                return Err(Stopped::Surprise("out of its budget".into()));
            }
            match number {
                1 => {
                    self.at(from)?;
                    if let Some(channel) = &mut self.body(from).facts.channel {
                        channel.receiver = ReceiverState::Off;
                    }
                }
                2 => {
                    self.at(from)?;
                    if !self.body(from).pending.is_empty() {
                        return Err(Stopped::Surprise(format!("a commit waits on {from}; open as before")));
                    }
                    self.body(from).facts.super_read_only = true;
                }
                3 => {
                    self.at(to)?;
                    let all = self.body(from).facts.executed.clone();
                    if !self.body(to).facts.executed.contains(&all) {
                        return Err(Stopped::Surprise(format!("{to} doesn't apply all in the budget")));
                    }
                    self.drained(to)?;
                }
                4 => self.write_record(record),
                5 => {
                    self.at(to)?;
                    self.open(to, true, false);
                }
                6 => self.point_vip(to)?,
                7 => self.attach(from, to, true)?,
                _ => self.close(from)?,
            }
        }
        Ok(())
    }
}
