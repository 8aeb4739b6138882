//! What must hold of any decision, whatever was seen. Numbers are the invariants of docs/failover.md.

use shardpair::api::pair::SplitRole;
use shardpair::pair::decide::{FRESH_MS, HUNG_MS, Identity, identity, open, serving, View};
use shardpair::pair::facts::{Contact, Facts, Observation, ReceiverState};
use shardpair::mysql::gtid::GtidSet;
use shardpair::pair::record::{Deposed, Mode, MoveKind, Rebuild, RebuildPhase, Record, RewindPhase};
use shardpair::pair::settings::{Ack, Durability, Settings};
use shardpair::pair::step::{Decision, Reason, Step};

/// One decision, held against the laws.
pub struct Case<'a> {
    pub record: &'a Record,
    pub settings: &'a Settings,
    pub seen: &'a Observation,
    pub now: jiff::Timestamp,
}

impl Case<'_> {
    fn answer(&self, record: &Record, name: &str) -> Option<&Facts> {
        let member = self.seen.members.get(name)?;
        let known = member.facts_age_ms <= FRESH_MS && member.contact == Contact::Answering;
        (known && identity(record, member, name) == Identity::Match).then_some(member.facts.as_ref()?)
    }

    /// Every law that the decision breaks.
    pub fn broken(&self, decision: &Decision) -> Vec<String> {
        let mut broken = Vec::new();
        let mut current = self.record.clone();
        let mut before: Option<&Step> = None;
        let mut retired: Option<&str> = None;
        if self.settings.paused && !decision.steps.is_empty() {
            broken.push("a paused pair has steps".into());
        }
        // A pair that follows another has no authority of its own to be contradicted.
        if !decision.steps.is_empty() && self.record.provisioned() && self.record.follows.is_none() && self.newer_epoch() {
            broken.push("8: a member has seen a newer epoch than the record, and something is touched".into());
        }
        for step in &decision.steps {
            self.step(&current, before, step, &mut broken);
            match step {
                Step::WriteRecord(new) => {
                    self.write(&current, before, new, &mut broken);
                    current = (**new).clone();
                }
                Step::SwitchOver { record: new, .. } => current = (**new).clone(),
                _ => {}
            }
            if let Step::OpenPrimary { member, .. } = step
                && let Some(Ok(_)) = self.settings.split.as_ref().map(|s| &s.guard)
                && current.severed.as_ref().is_none_or(|s| !s.proven)
                && retired != Some(member.as_str())
                && !self.nobody_from_before(&current, member)
            {
                broken.push(format!("12: {member} opens to sessions that may TRUNCATE"));
            }
            // It stands between the guard and the opening.
            match step {
                Step::RetireSessions { member, at_once: true } => retired = Some(member),
                _ => before = Some(step),
            }
        }
        let moves = decision.steps.iter().position(|s| matches!(s, Step::SwitchOver { .. }));
        if let (Some(at), Some(Ok(_))) = (moves, self.settings.split.as_ref().map(|s| &s.guard)) {
            let to = self.record.standby.as_ref();
            if !decision.steps[..at].iter().any(|s| matches!(s, Step::Guard { member, .. } if Some(member) == to)) {
                broken.push("12: a switchover opens a member whose guard wasn't set".into());
            }
        }
        for (at, step) in decision.steps.iter().enumerate() {
            let Step::Guard { member, opens: true, .. } = step else { continue };
            let then = decision.steps[at + 1..].iter().find(|s| !matches!(s, Step::RetireSessions { .. }));
            if !matches!(then, Some(Step::OpenPrimary { member: of, .. }) if of == member) {
                broken.push(format!("{member} isn't closed again, and not opened next: {then:?}"));
            }
        }
        if self.seen.turn_of.is_some() && self.volunteers(decision) {
            broken.push("13: renewed while another pair has its turn".into());
        }
        if decision.steps.is_empty() && decision.note.reason == Reason::InSync && !self.well() {
            broken.push("InSync is said and not all is well".into());
        }
        broken
    }

    /// Is a standby that serves restarted, or a primary that is open replaced, for nothing but its new image or settings?
    fn volunteers(&self, decision: &Decision) -> bool {
        let view = View { record: self.record, settings: self.settings, seen: self.seen, now: self.now };
        let serves = view.standby_answer().is_some_and(|s| serving(&view, s)) && decision.note.reason == Reason::Updating && !decision.steps.is_empty();
        let hands_over = |step: &Step| matches!(step, Step::WriteRecord(new) if new.transition.as_ref().is_some_and(|t| t.reason == Reason::Updating.as_str()));
        serves || self.record.transition.is_none() && decision.steps.iter().any(hands_over)
    }

    fn newer_epoch(&self) -> bool {
        [Some(&self.record.primary), self.record.standby.as_ref()].into_iter().flatten().any(|n| self.answer(self.record, n).is_some_and(|f| f.epoch > Some(self.record.epoch)))
    }

    /// Is all that "InSync" promises so?
    fn well(&self) -> bool {
        let view = View { record: self.record, settings: self.settings, seen: self.seen, now: self.now };
        let (Some(primary), Some(standby)) = (view.primary_answer(), view.standby_answer()) else { return false };
        let held = self.seen.members[&self.record.primary].beat.held_by_lock && self.seen.members[&self.record.primary].beat.pending_ms > Some(5_000);
        self.record.mode == Mode::Sync && open(primary) && primary.source.enabled && serving(&view, standby) && !held
    }

    /// Was the guard set just before, to what the record gives?
    fn guarded(&self, current: &Record, before: Option<&Step>, member: &str) -> bool {
        let Some(split) = &self.settings.split else { return true };
        let moving = split.role == SplitRole::Child || current.ceded.is_none();
        match before {
            Some(Step::Guard { member: of, owned, .. }) => of == member && owned.contains(&super::split::MOVES) == moving,
            _ => split.guard.is_err() && split.role == SplitRole::Parent && current.ceded.is_none(),
        }
    }

    /// Nobody is left on the member who has rights that were taken.
    fn nobody_from_before(&self, current: &Record, member: &str) -> bool {
        let theirs = self.seen.other.as_ref().and_then(|o| o.members.get(member)?.facts.as_ref());
        let guard = self.answer(current, member).or(theirs).and_then(|f| f.guard.as_ref());
        guard.is_some_and(|g| g.ddl_revoked && g.old_sessions == Some(0))
    }

    /// Neither side's primary has a deposed one's tail: of the other side's former primaries here, of ours there.
    fn clean(&self, current: &Record, member: &str) -> bool {
        let Some(other) = &self.seen.other else { return false };
        let (Some(here), Some(there)) = (self.answer(current, member), other.members.get(&other.record.primary).and_then(|m| m.facts.as_ref())) else { return false };
        let beyond = |a: &Facts, b: &Facts, of: &Record, but: &str| {
            let all = a.holds().subtract(&b.holds()).without_source(&b.server_uuid);
            of.members.iter().filter(|m| m.name != but).any(|m| all != all.without_source(&m.server_uuid))
        };
        !beyond(here, there, &other.record, &other.record.primary) && !beyond(there, here, current, member)
    }

    /// What the other primary still has to apply is little, or young.
    fn near(&self, current: &Record) -> bool {
        self.lacks_at_most(current, 16) || self.seen.other.as_ref().is_some_and(|o| o.behind_ms.is_some_and(|ms| ms <= 100))
    }

    /// The other primary still has to apply at most so many transactions.
    fn lacks_at_most(&self, current: &Record, limit: u64) -> bool {
        let Some(other) = &self.seen.other else { return false };
        let (here, there) = (self.answer(current, &current.primary), other.members.get(&other.record.primary).and_then(|m| m.facts.as_ref()));
        here.zip(there).is_some_and(|(here, there)| here.executed.subtract(&there.executed).count() <= limit)
    }

    fn step(&self, current: &Record, before: Option<&Step>, step: &Step, broken: &mut Vec<String>) {
        let mut law = |holds: bool, text: &str| {
            if !holds {
                broken.push(format!("{text}: {step:?}"));
            }
        };
        let follows = current.follows.is_some();
        let alone = current.mode == Mode::Solo && (self.settings.durability == Durability::Preferred || follows);
        let theirs = self.seen.other.as_ref().map(|o| o.record.primary.as_str());
        let standby = current.standby.as_deref();
        match step {
            Step::RequireAcks { member } if follows => {
                let acker = standby.and_then(|s| self.seen.members.get(s)?.address.as_deref());
                let channel = self.answer(current, member).and_then(|f| Some((f, f.channel.as_ref()?))).filter(|(_, c)| Some(c.source_host.as_str()) == acker);
                law(channel.is_none_or(|(f, c)| f.executed.contains(&c.received)), "1: commits that nobody acknowledges: the acker sent them itself");
            }
            Step::RelaxAcks { member } if *member == current.primary => law(alone, "2: acks are relaxed and Solo isn't recorded, or durability is Required"),
            Step::RelaxAcks { member } => {
                law(current.transition.as_ref().is_some_and(|t| t.to == *member), "2: acks are relaxed on a member that nobody promotes");
                let ended = |d: &Deposed| self.answer(current, member).is_some_and(|f| d.process.as_ref().is_some_and(|p| *p != f.process));
                law(current.deposed.as_ref().is_none_or(|d| d.member != *member || ended(d)), "9: acks are relaxed in a deposed process");
            }
            Step::OpenPrimary { member, ack, .. } => {
                law(!follows, "12: opened, and the pair follows another");
                law(self.guarded(current, before, member), "12: opened, and its guard wasn't set to what the record gives it");
                law(*member == current.primary && current.transition.is_none(), "6: a member is opened that isn't the recorded primary");
                law(*ack || alone, "1: opened without acks, and Solo isn't recorded, or durability is Required");
                law(self.answer(current, member).is_some(), "6: opened without being who the record says");
            }
            Step::PointVip { member } if follows => law(theirs == Some(member), "12: the VIP of a pair that follows doesn't lead to the parent's primary"),
            Step::PointVip { member } => law(*member == current.primary && current.transition.is_none(), "10: the VIP goes to a member that isn't the recorded primary"),
            Step::Attach { member, source, acker: true } => {
                law(standby == Some(member) && *source == current.primary, "1: an acker that isn't the recorded standby");
                law(current.deposed.as_ref().is_none_or(|d| d.member != *member), "9: a deposed member is attached");
                law(current.rebuild.as_ref().is_none_or(|r| r.member != *member), "9: a member that is being rebuilt is attached");
                law(current.rewind.as_ref().is_none_or(|r| r.member != *member || r.phase == RewindPhase::Comparing), "9: a member is attached with its tail");
            }
            Step::Attach { member, source, acker: false } if theirs == Some(source) && standby != Some(source) => {
                law(*member == current.primary && current.severed.is_none(), "9: a link from somebody else, or after its end");
                law(follows || self.clean(current, member), "9: a tail would go over the link");
            }
            Step::Attach { member, source, acker: false } => {
                law(*member == current.primary && standby == Some(source), "9: a reverse channel from somewhere else");
                law(current.mode == Mode::Sync, "9: a reverse channel in Solo");
            }
            Step::DropRelayLog { member, left } => {
                let view = View { record: current, settings: self.settings, seen: self.seen, now: self.now };
                let needed = standby == Some(member) && shardpair::pair::decide::promotable(&view).is_ok();
                law(!needed, "5: a relay log is dropped, and the standby could be promoted with it");
                let other = if *member == current.primary { standby } else { Some(current.primary.as_str()) };
                let holds = other.and_then(|o| self.answer(current, o));
                law(holds.is_some_and(|h| left.without_source(&h.server_uuid).subtract(&h.executed).is_empty()), "5: a relay log is dropped with what nobody else holds");
            }
            Step::CloseStandby { member } => law(*member != current.primary, "6: the primary is closed"),
            Step::Clone { member, donor } => {
                law(current.rebuild.as_ref().is_some_and(|r| r.member == *member && r.phase == RebuildPhase::Cloning), "8: a clone that isn't recorded");
                let own = *donor == current.primary && *member != current.primary;
                law(own || follows && self.seen.other.as_ref().is_some_and(|o| o.members.contains_key(donor)), "8: a clone from a member that isn't the primary");
            }
            Step::Rewind { member, tail, keep, mark, otherwise } => {
                let recorded = current.rewind.as_ref().is_some_and(|r| r.member == *member && r.phase == RewindPhase::Undoing && r.mark == *mark);
                law(recorded && *member != current.primary && !keep.intersects(tail), "8: a rewind that isn't recorded");
                let facts = self.answer(current, member);
                law(facts.is_some_and(|f| f.rewound == Some(*mark) || f.executed == keep.union(tail)), "8: a rewind of what isn't there");
                law(otherwise.rebuild.as_ref().is_some_and(|r| r.member == *member) && otherwise.mode == Mode::Solo, "8: what can't be undone isn't cloned");
            }
            Step::CompareRows { member, primary, otherwise } => {
                law(standby == Some(member) && *primary == current.primary, "8: a comparison with somebody else");
                law(otherwise.rebuild.as_ref().is_some_and(|r| r.member == *member), "8: what differs isn't cloned");
            }
            Step::PlaceMarker { member } => law(current.rebuild.as_ref().is_some_and(|r| r.member == *member), "8: a mark that isn't recorded"),
            Step::SwitchOver { from, to, record } => {
                law(matches!(before, Some(Step::WriteRecord(_))), "a switchover that isn't recorded as begun");
                law(current.transition.as_ref().is_some_and(|t| t.kind == MoveKind::Switchover && t.to == *to), "a switchover that isn't recorded as begun");
                law(*from == current.primary && record.primary == *to && record.epoch > current.epoch, "a switchover from or to somebody else");
                law(current.mode == Mode::Sync && record.standby.as_deref() == Some(from), "3: a switchover that isn't from Sync");
            }
            Step::Guard { member, owned, .. } => {
                let none = follows && !owned.is_empty();
                let given = current.ceded.is_some() && owned.contains(&super::split::MOVES) && self.settings.split.as_ref().is_some_and(|s| s.role == SplitRole::Parent);
                law(!none && !given, "12: a guard accepts keys that the record doesn't give");
                law(*member == current.primary || standby == Some(member), "12: a guard on somebody else's member");
                let given_back = matches!(step, Step::Guard { ddl: true, .. }) && self.answer(current, member).and_then(|f| f.guard.as_ref()).is_some_and(|g| g.ddl_revoked);
                law(current.ceded.is_none() || !given_back || self.nobody_from_before(current, member), "12: rights are given back, and sessions from before the flip are there");
            }
            Step::RemoveGuard { member } => {
                let revoked = self.answer(current, member).and_then(|f| f.guard.as_ref()).is_some_and(|g| g.ddl_revoked);
                law(current.ceded.is_none() || !revoked || self.nobody_from_before(current, member), "12: the guard goes, and sessions from before the flip are there");
            }
            Step::Cede { primary, to, acker, record, .. } => {
                let all = [Some(primary), Some(to), acker.as_ref(), current.standby.as_ref()];
                law(all.into_iter().flatten().all(|m| self.nobody_from_before(current, m)), "12: keys move while a session may TRUNCATE around the guard");
                let begun = current.flip.as_ref().is_some_and(|f| f.begun_at.is_some());
                law(begun && current.ceded.is_none() && current.transition.is_none(), "a flip that isn't recorded as begun");
                law(self.near(current), "keys pause, and the other side is far behind");
                law(*primary == current.primary && theirs == Some(to) && record.ceded.as_ref().is_some_and(|c| c.epoch == record.epoch && record.epoch > current.epoch), "a flip to somebody else");
            }
            Step::GiveBack { primary, to, patience_ms, record } => {
                law((1_000..=16_000).contains(patience_ms), "keys pause for long");
                law(*primary == current.primary && theirs == Some(to) && record.follows.is_some() && current.linked.is_some() && current.severed.is_none(), "a way back that isn't open");
                law(self.lacks_at_most(current, 2_000), "keys pause, and the other side is far behind");
            }
            Step::KillProcess { member, pod_uid } => {
                let seen = &self.seen.members[member];
                law(seen.pod.as_ref().is_some_and(|p| p.uid == *pod_uid), "a kill of another pod");
                let hung = matches!(seen.contact, Contact::Silent { for_ms } if for_ms >= HUNG_MS);
                // With Required its commits wait for a clone that waits for them: nobody was told that they succeeded.
                let cloning = current.rebuild.as_ref().is_some_and(|r| r.phase == RebuildPhase::Cloning);
                let circle = self.settings.durability == Durability::Required && cloning && current.mode == Mode::Solo;
                law(*member != current.primary || hung || circle, "a primary is killed that hasn't hung");
            }
            _ => {}
        }
    }

    fn write(&self, old: &Record, before: Option<&Step>, new: &Record, broken: &mut Vec<String>) {
        let mut law = |holds: bool, text: &str| {
            if !holds {
                broken.push(format!("{text}: {old:?} -> {new:?}"));
            }
        };
        law(new.epoch >= old.epoch, "the epoch falls");
        law(new.epoch > old.epoch || (new.primary == old.primary && new.mode == old.mode), "role or mode change and the epoch doesn't");
        if !old.provisioned() {
            return;
        }
        if old.mode == Mode::Solo && new.mode == Mode::Sync {
            let proven = matches!(before, Some(Step::ProveSync { primary, standby }) if *primary == new.primary && Some(standby) == new.standby.as_ref());
            law(proven, "2: Sync is recorded and wasn't proven");
        }
        law(new.mode == Mode::Solo || new.rewind.is_none() || old.mode == Mode::Sync, "8: Sync is recorded of a standby that isn't wholly rewound");
        if let (None, Some(rewind)) = (&old.rewind, &new.rewind) {
            let tail = GtidSet::parse(&rewind.tail).unwrap_or_default();
            law(matches!(before, Some(Step::SaveTail { member, tail: saved }) if *member == rewind.member && *saved == tail), "8: a tail is rewound that wasn't saved");
        }
        if old.standby_boot != new.standby_boot && new.mode == Mode::Sync {
            law(matches!(before, Some(Step::ProveSync { .. })), "3: another boot is taken for the one of Sync, unproven");
        }
        if old.primary != new.primary && old.follows.is_some() && new.follows.is_some() {
            law(new.mode == Mode::Solo, "2: another member that follows is said to be in Sync");
        } else if old.primary != new.primary {
            law(old.transition.as_ref().is_some_and(|t| t.kind != MoveKind::Switchover && t.to == new.primary), "4: another primary without a transition");
            let fenced = self.answer(old, &new.primary).is_some_and(|f| f.channel.as_ref().is_none_or(|c| c.receiver == ReceiverState::Off && f.executed.contains(&c.received)));
            law(fenced, "4, 5: another primary that isn't fenced and drained");
            law(new.mode == Mode::Solo, "2: a promoted member is said to be in Sync");
            law(new.deposed.as_ref().is_some_and(|d| d.member == old.primary), "8: the old primary isn't deposed");
        }
        let failover = |r: &Record| r.transition.as_ref().is_some_and(|t| t.kind == MoveKind::Failover);
        if failover(new) && !failover(old) {
            law(old.mode == Mode::Sync, "3: a failover begins from Solo");
            let name = old.standby.as_deref().unwrap_or("");
            let boot = self.seen.members.get(name).and_then(|m| Some(format!("{}/{}", m.pod.as_ref()?.node_boot.as_deref()?, m.facts.as_ref()?.process.split('-').next()?)));
            law(self.answer(old, name).is_some(), "3: a failover begins to a standby that doesn't answer, or is another");
            law(self.settings.ack == Ack::Flushed || boot.is_some() && boot == old.standby_boot, "3: a failover begins to a standby that has rebooted");
        }
        self.undone(old, before, new, &mut law);
    }

    /// 8: nothing is undone that wasn't saved.
    fn undone(&self, old: &Record, before: Option<&Step>, new: &Record, law: &mut impl FnMut(bool, &str)) {
        let Some(Rebuild { member, phase: RebuildPhase::Marking, .. }) = new.rebuild.as_ref().filter(|_| old.rebuild != new.rebuild) else { return };
        // What follows owns nothing.
        if old.follows.is_some() {
            return;
        }
        let unknown = new.member(member).is_none_or(|m| m.volume.is_empty());
        let (Some(there), Some(primary)) = (self.answer(old, member), self.answer(old, &old.primary)) else { return };
        let known = if old.linked.is_some() { primary.holds() } else { primary.executed.clone() };
        let tail = there.executed.subtract(&known).without_source(&primary.server_uuid);
        let before_that = old.rewind.as_ref().filter(|r| r.member == *member).and_then(|r| GtidSet::parse(&r.tail).ok());
        let tail = tail.subtract(&before_that.unwrap_or_default());
        let saved = matches!(before, Some(Step::SaveTail { member: of, .. }) if of == member);
        law(unknown || tail.is_empty() || saved, "8: a tail is undone that wasn't saved");
        law(unknown || old.abandoned.iter().all(|a| a.member != *member) || self.seen.requests.discard_tail.as_deref() == Some(member) || tail.is_empty(), "8: an abandoned tail is undone without a person's word");
        let same_process = old.deposed.as_ref().is_some_and(|d| d.member == *member && d.process.as_ref().is_none_or(|p| *p == there.process));
        law(!same_process, "9: a tail is read from the process that was deposed");
    }
}
