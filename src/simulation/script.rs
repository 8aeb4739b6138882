//! A decision's steps as single commands, in the order in which `controller::pair::{act, switchover}` sends them: between
//! any two of them the operator may be killed, a member may die, the other operator may act.

use std::sync::Arc;

use super::set::{Log, Set};
use super::split::guard::bits;
use super::split::pairs::in_words;
use super::verb::Verb;
use crate::pair::record::{Mode, Record};
use crate::pair::settings::{Durability, Settings};
use crate::pair::step::Step;

/// One request to a member or to the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// To a member's mysqld.
    Sql(u8, Verb),
    /// A heartbeat that must come back acknowledged.
    Beat(u8),
    /// Everything executed there is noted; it must have one acker and wait for it.
    NoteProof(u8),
    /// Everything executed there is noted.
    NoteExecuted(u8),
    /// All that was noted must be received here.
    AwaitReceived(u8),
    /// All that was noted must be executed here.
    AwaitExecuted(u8),
    /// Only if the record hasn't changed since this decision began.
    SameEpoch,
    /// The record, against the version that was read.
    Write(Arc<Record>),
    /// The VIP's slice.
    PointVip(u8),
    /// That very pod.
    DeletePod(u8, String),
    /// Can the tail be undone there, or is it already (the mark)? Else this record is written, and that is all.
    Invertible(u8, u16, Arc<Record>),
    /// A tail is kept.
    SaveTail(u8, Set),
    /// Databases and accounts.
    Provision(u8),
    /// The pair's spec.
    SetMembers(Vec<String>),
    /// A request's annotation.
    ClearRequest(&'static str),
    /// Keys of this class are refused there, when those who write such keys are through.
    Fence(u8, u32),
    /// The application's sessions from before end; at once, or those that are idle.
    Retire(u8, bool),
    /// All that was received there must be executed.
    AwaitDrained(u8),
    /// What this world doesn't show.
    Nothing(&'static str),
}

/// The index of `m3` is 3.
pub fn index(member: &str) -> u8 {
    member.trim_start_matches('m').parse().unwrap_or(u8::MAX)
}

/// Member 3 is called `m3`.
pub fn name(member: u8) -> String {
    format!("m{member}")
}

/// One step's commands.
pub fn commands(step: &Step, settings: &Settings, log: &Log) -> Vec<Command> {
    use Command::{Sql, Write};
    let sql = |member: &str, verbs: &[Verb]| verbs.iter().map(|verb| Sql(index(member), *verb)).collect::<Vec<_>>();
    match step {
        Step::WriteRecord(record) => vec![Write(Arc::new((**record).clone()))],
        Step::StopReceiver { member } => sql(member, &[Verb::StopReceiver]),
        Step::StartApplier { member } => sql(member, &[Verb::StartApplier]),
        Step::OpenPrimary { member, ack, linked } => [vec![Command::SameEpoch], open(index(member), *ack, *linked)].concat(),
        Step::RequireAcks { member } => sql(member, &[Verb::RequireAcks]),
        Step::RelaxAcks { member } => sql(member, &[Verb::RelaxAcks]),
        Step::ProveSync { primary, standby } => {
            vec![Command::Beat(index(primary)), Command::NoteProof(index(primary)), Command::AwaitReceived(index(standby))]
        }
        Step::CloseStandby { member } => sql(member, &[Verb::ReadOnly, Verb::SourceOff]),
        Step::Attach { member, source, acker } => attach(index(member), index(source), *acker),
        Step::DropRelayLog { member, left } => sql(member, &[Verb::StopReceiver, Verb::DropRelayLog(log.set(left))]),
        Step::PointVip { member } => vec![Command::PointVip(index(member))],
        Step::KillProcess { member, pod_uid } => vec![Command::DeletePod(index(member), pod_uid.clone())],
        Step::ShutDown { member } => sql(member, &[Verb::ShutDown]),
        Step::SaveTail { member, tail } => vec![Command::SaveTail(index(member), log.set(tail))],
        Step::Rewind { member, tail, keep, mark, otherwise } => {
            let (tail, keep) = (log.set(tail), log.set(keep));
            let begin = Command::Invertible(index(member), *mark as u16, Arc::new((**otherwise).clone()));
            [vec![begin], sql(member, &[Verb::Undo(tail, *mark as u16), Verb::ForgetGtids(keep), Verb::SetGtids(keep)])].concat()
        }
        Step::CompareRows { member, primary, .. } => {
            vec![Command::NoteExecuted(index(primary)), Command::Sql(index(member), Verb::Compared)]
        }
        Step::PlaceMarker { member } => sql(member, &[Verb::Mark]),
        Step::Clone { member, donor } => sql(member, &[Verb::BeginClone(index(donor))]),
        Step::SwitchOver { from, to, record } => switch_over(index(from), index(to), record, settings),
        Step::Provision { member } => vec![Command::Provision(index(member))],
        Step::ApplySettings { .. } => vec![Command::Nothing("apply settings")],
        Step::EnableEvents { .. } => vec![Command::Nothing("enable events")],
        Step::SetMembers { members } => vec![Command::SetMembers(members.clone())],
        Step::Guard { member, owned, ddl, unsharded, .. } => sql(member, &[Verb::Own(bits(owned)), Verb::Unsharded(*unsharded), Verb::Ddl(*ddl)]),
        Step::RetireSessions { member, at_once } => vec![Command::Retire(index(member), *at_once)],
        Step::RemoveGuard { member } => sql(member, &[Verb::Ddl(true), Verb::RemoveGuard]),
        Step::CloseFollower { member } => sql(member, &[Verb::Follower]),
        Step::Detach { member, drain } => detach(index(member), *drain),
        Step::Cede { primary, to, acker, moves, record, .. } => {
            let acker = acker.as_ref().map(|acker| Command::AwaitReceived(index(acker)));
            let fence = [Command::Fence(index(primary), *moves), Command::Beat(index(primary)), Command::NoteExecuted(index(primary)), Command::AwaitExecuted(index(to))];
            fence.into_iter().chain(acker).chain([Write(Arc::new((**record).clone()))]).collect()
        }
        Step::GiveBack { primary, to, record, .. } => {
            let mut all = sql(primary, &[Verb::CloseWrites]);
            all.extend([Command::NoteExecuted(index(primary)), Command::AwaitExecuted(index(to)), Write(Arc::new((**record).clone())), Command::PointVip(index(to))]);
            all
        }
        Step::ClearRequest { annotation } => vec![Command::ClearRequest(annotation)],
    }
}

/// What `controller::pair::split` does when a step fails before its record is written.
pub fn undo(step: &Step) -> Option<Command> {
    match step {
        Step::Cede { primary, moves, stays, .. } => Some(Command::Sql(index(primary), Verb::Own(1 << moves | 1 << stays))),
        Step::GiveBack { primary, .. } => Some(Command::Sql(index(primary), Verb::ReopenWrites)),
        _ => None,
    }
}

/// `role::open_primary`
fn open(member: u8, ack: bool, linked: bool) -> Vec<Command> {
    let acks = if ack { Verb::RequireAcks } else { Verb::RelaxAcks };
    let stop = (!linked).then_some(Verb::StopDrained);
    stop.into_iter().chain([Verb::SetAcker(false), acks, Verb::Open]).map(|verb| Command::Sql(member, verb)).collect()
}

/// `replication::forget`, after who is there was noted
fn detach(member: u8, drain: bool) -> Vec<Command> {
    let mut all = vec![Command::Sql(member, Verb::NoteSessions), Command::Sql(member, Verb::StopReceiver)];
    if drain {
        all.extend([Command::Sql(member, Verb::StartApplier), Command::AwaitDrained(member), Command::Sql(member, Verb::StopDrained)]);
    } else {
        all.push(Command::Sql(member, Verb::StopApplier));
    }
    all.push(Command::Sql(member, Verb::ForgetChannel));
    all
}

/// `replication::attach` and `follow`
fn attach(member: u8, source: u8, acker: bool) -> Vec<Command> {
    [Verb::SetAcker(acker), Verb::ChangeSource(source), Verb::StartReceiver, Verb::StartApplier].map(|verb| Command::Sql(member, verb)).to_vec()
}

/// `controller::pair::switchover`
fn switch_over(from: u8, to: u8, record: &Record, settings: &Settings) -> Vec<Command> {
    let sync = record.mode == Mode::Sync;
    let mut all = vec![
        Command::Sql(from, Verb::StopReceiver),
        Command::Sql(from, Verb::CloseWrites),
        Command::NoteExecuted(from),
        Command::AwaitExecuted(to),
        Command::Sql(to, Verb::StopDrained),
        Command::Write(Arc::new(record.clone())),
    ];
    all.extend(open(to, sync || settings.durability == Durability::Required, false));
    all.push(Command::PointVip(to));
    if sync {
        all.extend(attach(from, to, true));
    }
    all.extend([Verb::EndSessions, Verb::ReadOnly, Verb::SourceOff].map(|verb| Command::Sql(from, verb)));
    all
}

/// A command in words.
pub fn words(command: &Command, before: &Record) -> String {
    match command {
        Command::Write(record) => {
            let mut text = format!("record {} -> {}: {} {:?}", before.epoch, record.epoch, record.primary, record.mode);
            if let Some(t) = &record.transition {
                text.push_str(&format!(", {:?} to {} begins", t.kind, t.to));
            }
            if let Some(d) = &record.deposed {
                text.push_str(&format!(", {} deposed", d.member));
            }
            text.push_str(&in_words(record));
            text
        }
        Command::Sql(member, verb) => format!("{}: {verb:?}", name(*member)),
        Command::Invertible(member, ..) => format!("the tail of {} can be undone", name(*member)),
        other => format!("{other:?}"),
    }
}
