//! One mysqld with its volume, as MySQL 9.7 was seen to behave: what it does by itself, and what a death leaves.
//!
//! Small and `Copy`: the model in tests/pure/model keeps millions of them. The SQL commands are in `verb`.

use super::set::Set;
use super::split::guard::Guard;

/// The receiver thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Receiver {
    /// Stopped.
    Off,
    /// Trying; it receives again as soon as it can.
    Connecting,
    /// Connected.
    On,
}

/// See the module. Members are known by their index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// The process lives.
    pub alive: bool,
    /// It lives and does nothing (SIGSTOP, a hung host).
    pub hung: bool,
    /// Counts processes.
    pub process: u8,
    /// Counts boots of its node.
    pub kernel: u8,
    /// Names its volume and its `server_uuid`.
    pub volume: u8,
    /// The heartbeat row's epoch.
    pub epoch: u16,

    /// On disk: committed.
    pub executed: Set,
    /// On disk: no longer in the binary logs.
    pub purged: Set,
    /// In the relay log: received through the present channel.
    pub received: Set,
    /// Of that, what a power cut would take.
    pub unsynced: Set,
    /// A file of the relay log is missing: the applier "runs" and applies nothing, until the relay log goes.
    pub hole: bool,
    /// On disk: where it replicates from.
    pub source: Option<u8>,
    /// On disk: the mark of a rebuild.
    pub marked: bool,

    /// On disk: transactions whose rows a rewind took back here, whatever the GTID sets say.
    pub undone: Set,
    /// On disk: the mark of a rewind.
    pub rewound: Option<u16>,

    /// On disk, unlogged: the guard of a split.
    pub guard: Option<Guard>,

    /// In the binary log, waiting for acknowledgements; not in `gtid_executed`.
    pub pending: Set,
    /// Of that, what its applier committed: no client is told of it.
    pub applied: Set,
    /// `read_only`, and `super_read_only` with it, unless that is lifted.
    pub read_only: bool,
    /// It was lifted for unlogged statements, and couldn't be put back; `read_only` binds clients all the same.
    pub lifted: bool,
    /// `offline_mode`
    pub offline: bool,
    /// `rpl_semi_sync_source_enabled`
    pub acks: bool,
    /// `rpl_semi_sync_source_wait_for_replica_count`
    pub wait_count: u8,
    /// `rpl_semi_sync_replica_enabled`
    pub acker: bool,
    /// The receiver.
    pub receiver: Receiver,
    /// Does the connection that stands acknowledge? Decided when it was made.
    pub acknowledges: bool,
    /// The volume of the source that was connected last in this process.
    pub met: Option<u8>,
    /// Is the applier running?
    pub applier: bool,
    /// Has it stopped with an error?
    pub applier_error: bool,
    /// A CLONE from there runs.
    pub cloning: Option<u8>,
}

impl Server {
    /// A process that has just started on this volume: closed to everybody, no role.
    pub fn new(volume: u8) -> Self {
        Self {
            alive: true,
            hung: false,
            process: 1,
            kernel: 1,
            volume,
            epoch: 0,
            executed: Set::EMPTY,
            purged: Set::EMPTY,
            received: Set::EMPTY,
            unsynced: Set::EMPTY,
            hole: false,
            source: None,
            marked: false,
            undone: Set::EMPTY,
            rewound: None,
            guard: None,
            pending: Set::EMPTY,
            applied: Set::EMPTY,
            read_only: true,
            lifted: false,
            offline: true,
            acks: false,
            wait_count: 1,
            acker: false,
            receiver: Receiver::Off,
            acknowledges: false,
            met: None,
            applier: false,
            applier_error: false,
            cloning: None,
        }
    }

    /// It lives and isn't hung.
    pub fn runs(&self) -> bool {
        self.alive && !self.hung
    }

    /// Writable for clients.
    pub fn open(&self) -> bool {
        self.alive && !self.read_only && !self.offline
    }

    /// In its binary log.
    pub fn logged(&self) -> Set {
        self.executed.union(self.pending)
    }

    /// Is `super_read_only` on?
    pub fn super_read_only(&self) -> bool {
        self.read_only && !self.lifted
    }

    /// Executed, or received and waiting to be applied.
    pub fn holds(&self) -> Set {
        self.executed.union(self.received)
    }

    /// Transactions whose rows are here, committed or waiting.
    pub fn rows(&self) -> Set {
        self.logged().without(self.undone)
    }

    /// Transactions whose rows are here or can still be applied.
    pub fn keeps(&self) -> Set {
        self.holds().without(self.undone)
    }

    /// Received and not applied.
    pub fn undrained(&self) -> Set {
        self.received.without(self.executed)
    }

    /// The process is gone; what waited in it is in the binary log.
    pub fn die(&mut self) {
        (self.alive, self.hung, self.cloning) = (false, false, None);
        (self.receiver, self.applier) = (Receiver::Off, false);
    }

    /// Its node lost power: what was only in the page cache is gone, and the node boots anew.
    pub fn power_cut(&mut self) {
        self.die();
        let lost = self.unsynced.without(self.executed);
        self.received = self.received.without(lost);
        self.unsynced = Set::EMPTY;
        self.hole |= !lost.is_empty();
        self.kernel += 1;
    }

    /// The process starts again: what waited is committed by recovery, and no role is remembered.
    pub fn boot(&mut self) {
        let fresh = Server::new(self.volume);
        *self = Server {
            process: self.process.wrapping_add(1),
            kernel: self.kernel,
            epoch: self.epoch,
            executed: self.logged(),
            purged: self.purged,
            received: self.received,
            unsynced: self.unsynced,
            hole: self.hole,
            source: self.source,
            marked: self.marked,
            undone: self.undone,
            rewound: self.rewound,
            guard: self.guard,
            ..fresh
        };
    }

    /// Another, empty volume in its place; a process starts on it.
    pub fn emptied(&mut self, volume: u8) {
        let (process, kernel) = (self.process, self.kernel);
        *self = Server { process: process + 1, kernel, ..Server::new(volume) };
    }

    /// The receiver gets through to its source. False: refused, and it stops with an error.
    pub fn connect(&mut self, source: &Server) -> bool {
        if !self.holds().contains(source.purged) {
            self.receiver = Receiver::Off;
            return false;
        }
        (self.receiver, self.acknowledges, self.met) = (Receiver::On, self.acker, Some(source.volume));
        true
    }

    /// What the source has in its binary log and this one hasn't seen.
    pub fn news(&self, source: &Server) -> Set {
        source.logged().without(self.holds())
    }

    /// Receives it.
    pub fn receive(&mut self, news: Set, synced: bool) {
        self.received = self.received.union(news);
        if !synced {
            self.unsynced = self.unsynced.union(news);
        }
    }

    /// Does its applier go on? With its own source side on it would wait for an acknowledgement.
    pub fn applies(&self) -> bool {
        self.applier_goes_on() && !self.acks
    }

    /// Does it run, and can it read its relay log?
    pub fn applier_goes_on(&self) -> bool {
        self.runs() && self.applier && !self.applier_error && !self.hole
    }

    /// Applies all it has received: durable from then on.
    pub fn apply(&mut self) {
        self.executed = self.executed.union(self.received);
        self.unsynced = Set::EMPTY;
    }

    /// The same in the primary of a split, whose applier's commits wait for an acknowledgement like any other.
    pub fn apply_as_source(&mut self) {
        if !self.acks {
            return self.apply();
        }
        let news = self.undrained().without(self.pending);
        (self.pending, self.applied) = (self.pending.union(news), self.applied.union(news));
        self.unsynced = self.unsynced.without(news);
    }

    /// Of what waits here, all that enough of these followers hold is committed; what clients are answered OK by that.
    ///
    /// A follower that has a transaction from elsewhere is sent none of it, and acknowledges it only with a later one of this
    /// server's own: with its heartbeat, if it is open.
    pub fn acknowledged(&mut self, followers: &[&Server]) -> Set {
        let sent = |f: &Server, id: Set| !self.applied.contains(id) || f.received.contains(id) || self.open();
        let heard = |f: &Server, id: Set| f.holds().contains(id) && sent(f, id);
        let enough = |id: &u8| followers.iter().filter(|f| heard(f, Set::one(*id))).count() >= usize::from(self.wait_count);
        let done = self.pending.iter().filter(enough).map(Set::one).fold(Set::EMPTY, Set::union);
        let told = done.without(self.applied);
        self.executed = self.executed.union(done);
        (self.pending, self.applied) = (self.pending.without(done), self.applied.without(done));
        told
    }

    /// A client's transaction is logged here; true: it is answered with OK at once.
    pub fn write(&mut self, id: u8) -> bool {
        if self.acks {
            self.pending = self.pending.union(Set::one(id));
            return false;
        }
        self.executed = self.executed.union(Set::one(id));
        true
    }

    /// The clone is complete: the donor's data, a new process.
    pub fn cloned(&mut self, donor: &Server) {
        (self.executed, self.purged, self.epoch) = (donor.executed, donor.executed, donor.epoch);
        (self.pending, self.received, self.unsynced) = (Set::EMPTY, Set::EMPTY, Set::EMPTY);
        (self.source, self.marked, self.hole) = (None, false, false);
        (self.undone, self.rewound) = (donor.undone, donor.rewound);
        // Noted in a process of the donor's: none of its sessions are here.
        self.guard = donor.guard.map(|guard| Guard { noted: u8::MAX, ..guard });
        self.boot();
    }
}
