//! The commands that the operator sends, and what they do to a server: `mysql::{role, replication, clone}` in small, with
//! the same refusals.

use super::server::{Receiver, Server};
use super::set::Set;
use super::split::guard::Guard;

/// One command to one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// `STOP REPLICA IO_THREAD`
    StopReceiver,
    /// `START REPLICA SQL_THREAD`
    StartApplier,
    /// Both threads are stopped, if all that was received is applied.
    StopDrained,
    /// Does its next connection acknowledge? A receiver that runs otherwise is stopped.
    SetAcker(bool),
    /// Commits wait for an acknowledgement from here on.
    RequireAcks,
    /// Commits wait no longer; those that wait are answered with OK.
    RelaxAcks,
    /// Writable, and clients are let in.
    Open,
    /// No new writes; refused while a commit waits.
    CloseWrites,
    /// Read-only, readable; hangs and is given up while a commit waits.
    ReadOnly,
    /// The source side off; refused while a commit waits.
    SourceOff,
    /// Where to replicate from. Another source than before: only when drained, and the relay log goes; also that of one that is
    /// stopped and drained.
    ChangeSource(u8),
    /// The channel goes, and of what was received and isn't applied at most this.
    DropRelayLog(Set),
    /// `START REPLICA IO_THREAD`
    StartReceiver,
    /// The mark of a rebuild.
    Mark,
    /// The inverse of a tail, and the mark that says so, in one commit; nothing where the mark is.
    Undo(Set, u16),
    /// The binary logs and GTID sets are forgotten, unless they are these already.
    ForgetGtids(Set),
    /// The GTID sets are these.
    SetGtids(Set),
    /// The mark of a rewind is taken away, if the rows are the primary's.
    Compared,
    /// CLONE begins; refused without the mark.
    BeginClone(u8),
    /// A clean end; refused to a source.
    ShutDown,
    /// Application sessions end.
    EndSessions,
    /// Read-only, readable, its source side as it is: the primary of a pair that follows; refused while a commit waits.
    Follower,
    /// The writes that were closed are open again.
    ReopenWrites,
    /// The guard accepts these classes, a bit each, and no others; placed if it isn't there.
    Own(u8),
    /// Does the guard let the application write tables of no shard?
    Unsharded(bool),
    /// May the application change its tables?
    Ddl(bool),
    /// Sessions from before are looked for, and so many don't end.
    Retired(u8),
    /// Every session of now counts as from before.
    NoteSessions,
    /// The guard goes.
    RemoveGuard,
    /// `STOP REPLICA SQL_THREAD`; hangs while what it applied waits for an acknowledgement.
    StopApplier,
    /// `RESET REPLICA ALL`, with whatever was received and isn't applied.
    ForgetChannel,
}

/// Why a command had no effect.
pub type Refused = &'static str;

impl Server {
    /// Carries the command out; what clients are answered OK by it.
    pub fn obey(&mut self, verb: Verb) -> Result<Set, Refused> {
        match verb {
            Verb::StopReceiver => self.receiver = Receiver::Off,
            Verb::StartApplier => (self.applier, self.applier_error) = (true, false),
            Verb::StopDrained => return self.stop_drained(),
            Verb::SetAcker(acker) => {
                if acker != self.acker {
                    self.receiver = Receiver::Off;
                }
                self.acker = acker;
            }
            Verb::RequireAcks => {
                if !self.acks {
                    self.wait_count = 1;
                }
                self.acks = true;
            }
            Verb::RelaxAcks => return Ok(self.release()),
            Verb::Open => (self.read_only, self.lifted, self.offline) = (false, false, false),
            Verb::CloseWrites | Verb::ReadOnly if !self.pending.is_empty() && !self.super_read_only() => return Err("a commit waits; open as before"),
            Verb::CloseWrites => (self.read_only, self.lifted) = (true, false),
            Verb::ReadOnly => (self.read_only, self.lifted, self.offline) = (true, false, false),
            Verb::SourceOff if self.acks && !self.pending.without(self.applied).is_empty() => return Err("a commit waits"),
            Verb::SourceOff => return Ok(self.release()),
            Verb::ChangeSource(source) => return self.change_source(source),
            Verb::DropRelayLog(left) => {
                (self.receiver, self.applier) = (Receiver::Off, false);
                if !left.contains(self.undrained()) {
                    return Err("more was received than may go");
                }
                self.forget_channel();
            }
            Verb::StartReceiver => {
                if self.receiver == Receiver::Off {
                    self.receiver = Receiver::Connecting;
                }
            }
            Verb::Mark if !self.pending.is_empty() => return Err("a commit waits"),
            Verb::Mark => self.marked = true,
            Verb::Undo(tail, mark) => {
                if self.rewound != Some(mark) {
                    (self.undone, self.rewound) = (self.undone.union(tail), Some(mark));
                }
            }
            Verb::ForgetGtids(keep) => {
                if self.executed != keep {
                    self.executed = Set::EMPTY;
                }
            }
            Verb::SetGtids(keep) => (self.executed, self.purged, self.undone) = (keep, keep, self.undone.and(keep)),
            Verb::Compared if !self.undone.and(self.executed).is_empty() => return Err("the rows differ"),
            Verb::Compared => self.rewound = None,
            Verb::BeginClone(_) if !self.marked => return Err("no marker"),
            Verb::BeginClone(donor) => {
                (self.receiver, self.applier) = (Receiver::Off, false);
                self.cloning = Some(donor);
            }
            Verb::ShutDown if self.acks => return Err("it is a semi-sync source"),
            Verb::ShutDown => self.die(),
            Verb::EndSessions => {}
            of_a_split => return self.of_a_split(of_a_split).map(|()| Set::EMPTY),
        }
        Ok(Set::EMPTY)
    }

    fn of_a_split(&mut self, verb: Verb) -> Result<(), Refused> {
        let process = self.process;
        if self.read_only && matches!(verb, Verb::Own(_) | Verb::Unsharded(_) | Verb::Ddl(_) | Verb::RemoveGuard) {
            // `super_read_only` is lifted for these, and putting it back waits for every commit.
            self.lifted = !self.pending.is_empty();
            if self.lifted {
                return Err("a commit waits; super_read_only is lifted");
            }
        }
        match verb {
            Verb::Follower if !self.pending.is_empty() && !self.super_read_only() => return Err("a commit waits; open as before"),
            Verb::Follower => (self.read_only, self.lifted, self.offline) = (true, false, false),
            Verb::ReopenWrites => self.read_only = false,
            Verb::Own(owned) => self.guard.get_or_insert(Guard::new(owned)).owned = owned,
            Verb::Unsharded(accepted) => self.guarded()?.unsharded = accepted,
            Verb::Ddl(allowed) => {
                let guard = self.guarded()?;
                if guard.ddl && !allowed {
                    guard.note(process);
                }
                guard.ddl = allowed;
            }
            Verb::Retired(left) => {
                let guard = self.guarded()?;
                (guard.noted, guard.old) = (process, Some(left));
            }
            Verb::NoteSessions => {
                if let Some(guard) = self.guard.as_mut().filter(|g| !g.ddl) {
                    guard.note(process);
                }
            }
            Verb::RemoveGuard => self.guard = None,
            Verb::StopApplier if !self.applied.is_empty() => return Err("what it applied waits for an acknowledgement"),
            Verb::StopApplier => self.applier = false,
            Verb::ForgetChannel => self.forget_channel(),
            _ => return Err("no verb of a split"),
        }
        Ok(())
    }

    fn guarded(&mut self) -> Result<&mut Guard, Refused> {
        self.guard.as_mut().ok_or("no guard")
    }

    fn stop_drained(&mut self) -> Result<Set, Refused> {
        self.receiver = Receiver::Off;
        if self.source.is_some() && !self.undrained().is_empty() {
            return Err("received transactions aren't applied");
        }
        self.applier = false;
        Ok(Set::EMPTY)
    }

    fn change_source(&mut self, source: u8) -> Result<Set, Refused> {
        let stopped = self.receiver == Receiver::Off && !self.applier && self.undrained().is_empty();
        if self.source == Some(source) && !stopped {
            return Ok(Set::EMPTY);
        }
        self.stop_drained()?;
        self.drop_relay_log(source);
        Ok(Set::EMPTY)
    }

    /// CHANGE with both threads stopped deletes the relay log, whatever it holds.
    pub fn drop_relay_log(&mut self, source: u8) {
        self.forget_channel();
        self.source = Some(source);
    }

    fn forget_channel(&mut self) {
        (self.source, self.met, self.acknowledges, self.applier_error) = (None, None, false, false);
        (self.received, self.unsynced, self.hole) = (Set::EMPTY, Set::EMPTY, false);
    }

    /// `rpl_semi_sync_source_enabled=OFF` answers all that waits with OK.
    pub fn release(&mut self) -> Set {
        let (released, applied) = (std::mem::take(&mut self.pending), std::mem::take(&mut self.applied));
        self.executed = self.executed.union(released);
        self.acks = false;
        released.without(applied)
    }
}
