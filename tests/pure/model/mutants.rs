//! Mistakes that lost writes elsewhere, each a switch: in what the decision is told, in what it says, in how it is carried
//! out, or in the world. The model must catch every one.

use shardpair::pair::facts::{Observation, ReceiverState};
use shardpair::pair::record::{Mode, Record};
use shardpair::pair::step::{Decision, Step};
use shardpair::simulation::script::Command;
use shardpair::simulation::server::{Receiver, Server};
use shardpair::simulation::verb::{Refused, Verb};
use shardpair::simulation::set::Set;

/// See [`Mutant::words`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    RelaxBeforeSolo,
    PromoteWithoutStopping,
    ConnectingIsStopped,
    RelayLogDropped,
    BootRemembers,
    TwoAckersCountOne,
    LateCommand,
    SwitchedOffToUnblock,
    CountLoweredTooEarly,
    TailFromDeposed,
    EmptyVolume,
    FollowsDeposed,
}

impl Mutant {
    pub const ALL: [Mutant; 12] = [
        Mutant::RelaxBeforeSolo,
        Mutant::PromoteWithoutStopping,
        Mutant::ConnectingIsStopped,
        Mutant::RelayLogDropped,
        Mutant::BootRemembers,
        Mutant::TwoAckersCountOne,
        Mutant::LateCommand,
        Mutant::SwitchedOffToUnblock,
        Mutant::CountLoweredTooEarly,
        Mutant::TailFromDeposed,
        Mutant::EmptyVolume,
        Mutant::FollowsDeposed,
    ];

    pub fn words(self) -> &'static str {
        match self {
            Mutant::RelaxBeforeSolo => "the primary stops waiting for acks before Solo is recorded",
            Mutant::PromoteWithoutStopping => "a standby is promoted and its receiver isn't stopped",
            Mutant::ConnectingIsStopped => "a receiver that is connecting is taken for stopped",
            Mutant::RelayLogDropped => "the relay log is dropped before it is applied",
            Mutant::BootRemembers => "a restarted member takes its old role from its own memory",
            Mutant::TwoAckersCountOne => "two members acknowledge and one acknowledgement is enough",
            Mutant::LateCommand => "sessions of an older operator aren't ended: its command arrives late",
            Mutant::SwitchedOffToUnblock => "semi-sync is switched off to unblock waiting commits",
            Mutant::CountLoweredTooEarly => "the wait count is lowered while a stranger still acknowledges",
            Mutant::TailFromDeposed => "the tail is judged from the process that was deposed",
            Mutant::EmptyVolume => "an empty volume is taken for the primary's",
            Mutant::FollowsDeposed => "the new primary goes on following the deposed one",
        }
    }

    /// What the decision is told.
    pub fn tell(self, record: &mut Record, seen: &mut Observation) {
        let moving = record.transition.is_some();
        let standby = record.standby.clone().unwrap_or_default();
        let primary = record.primary.clone();
        let facts = |seen: &mut Observation, name: &str, change: &dyn Fn(&mut shardpair::pair::facts::Facts)| {
            if let Some(facts) = seen.members.get_mut(name).and_then(|m| m.facts.as_mut()) {
                change(facts);
            }
        };
        match self {
            Mutant::PromoteWithoutStopping if moving => facts(seen, &standby, &|f| f.channel.iter_mut().for_each(|c| c.receiver = ReceiverState::Off)),
            Mutant::ConnectingIsStopped if moving => facts(seen, &standby, &|f| f.channel.iter_mut().filter(|c| c.receiver == ReceiverState::Connecting).for_each(|c| c.receiver = ReceiverState::Off)),
            Mutant::RelayLogDropped if moving => facts(seen, &standby, &|f| {
                let executed = f.executed.clone();
                f.channel.iter_mut().for_each(|c| c.received = executed.clone());
            }),
            Mutant::FollowsDeposed if record.mode == Mode::Solo => facts(seen, &primary, &|f| f.channel.iter_mut().for_each(|c| c.receiver = ReceiverState::Off)),
            Mutant::TailFromDeposed => {
                let deposed = record.deposed.as_ref().map(|d| d.member.clone()).filter(|_| !moving).unwrap_or_default();
                facts(seen, &deposed, &|f| f.process = "k9-another.1".to_owned());
            }
            Mutant::EmptyVolume => {
                let volume = seen.members.get(&primary).and_then(|m| Some((m.volume.clone()?, m.facts.as_ref()?.server_uuid.clone())));
                if let Some(volume) = volume {
                    let known = record.member_mut(&primary);
                    (known.volume, known.server_uuid) = volume;
                }
            }
            _ => {}
        }
    }

    /// What it says.
    pub fn decided(self, record: &Record, seen: &Observation, decision: &mut Decision) {
        match self {
            Mutant::RelaxBeforeSolo => {
                if let [Step::WriteRecord(new), Step::RelaxAcks { .. }] = decision.steps.as_slice()
                    && new.mode == Mode::Solo
                {
                    decision.steps.reverse();
                }
            }
            Mutant::SwitchedOffToUnblock => {
                let waits = seen.members.get(&record.primary).and_then(|m| m.answer()).is_some_and(|f| f.source.waiting > 0);
                let lost = record.standby.as_ref().and_then(|s| seen.members.get(s)).is_some_and(|m| m.not_serving_ms > 3_000);
                if waits && lost && record.transition.is_none() {
                    decision.steps = vec![Step::RelaxAcks { member: record.primary.clone() }];
                }
            }
            Mutant::CountLoweredTooEarly => {
                let two = seen.members.get(&record.primary).and_then(|m| m.answer()).is_some_and(|f| f.source.wait_count == 2);
                if two {
                    decision.steps = vec![Step::ApplySettings { member: record.primary.clone(), hash: "count".into() }];
                }
            }
            _ => {}
        }
    }

    /// How it is carried out.
    pub fn script(self, step: &Step, commands: &mut Vec<Command>) {
        let is = |command: &Command, verbs: &[Verb]| matches!(command, Command::Sql(_, verb) if verbs.contains(verb));
        match (self, step) {
            (Mutant::PromoteWithoutStopping, Step::OpenPrimary { .. }) => commands.retain(|c| !is(c, &[Verb::StopDrained, Verb::SetAcker(false)])),
            (Mutant::FollowsDeposed, Step::OpenPrimary { member, .. }) => {
                let member = shardpair::simulation::script::index(member);
                commands.extend([Command::Sql(member, Verb::StartReceiver), Command::Sql(member, Verb::StartApplier)]);
            }
            (Mutant::CountLoweredTooEarly, Step::ApplySettings { member, .. }) => *commands = vec![Command::Sql(shardpair::simulation::script::index(member), Verb::EndSessions)],
            _ => {}
        }
    }

    /// What a member makes of a command.
    pub fn obey(self, server: &mut Server, verb: Verb) -> Result<Set, Refused> {
        let before = *server;
        let connecting = before.receiver == Receiver::Connecting;
        match (self, verb) {
            (Mutant::ConnectingIsStopped, Verb::StopReceiver | Verb::StopDrained | Verb::SetAcker(_)) if connecting => {
                let done = server.obey(verb);
                (server.receiver, server.acker) = (Receiver::Connecting, before.acker);
                done
            }
            (Mutant::RelayLogDropped, Verb::StopDrained) => {
                (server.receiver, server.applier) = (Receiver::Off, false);
                server.drop_relay_log(before.source.unwrap_or(0));
                Ok(Set::EMPTY)
            }
            // The one acknowledgement that it has is enough from here on.
            (Mutant::CountLoweredTooEarly, Verb::EndSessions) => {
                server.wait_count = 1;
                Ok(Set::EMPTY)
            }
            _ => server.obey(verb),
        }
    }

    /// What a member makes of its start.
    pub fn boot(self, server: &mut Server) {
        let before = *server;
        server.boot();
        if self == Mutant::BootRemembers {
            (server.read_only, server.offline) = (before.read_only, before.offline);
        }
    }
}
