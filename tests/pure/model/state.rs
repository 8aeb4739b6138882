//! A state of the model: members, operators, the API server's record, what clients were told.

use std::fmt::Write;
use std::hash::{Hash, Hasher};

use shardpair::simulation::server::{Receiver, Server};
use shardpair::simulation::set::{Log, Set};

/// How often each thing may happen on one path, and how many of the faults together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    pub writes: u8,
    pub kills: u8,
    pub hangs: u8,
    pub cuts: u8,
    pub blinds: u8,
    pub powers: u8,
    pub empties: u8,
    pub takeovers: u8,
    pub losses: u8,
    pub peeks: u8,
    pub asks: u8,
    /// Of all but writes.
    pub faults: u8,
}

/// The record, as far as properties look at it; `id` names all of it (`Tables`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rec {
    pub id: u16,
    pub primary: u8,
    pub standby: u8,
    pub sync: bool,
    /// Kernel of the standby when Sync was recorded.
    pub boot: u8,
    /// Recorded volumes of both.
    pub volumes: [u8; 2],
    pub moving: bool,
}

/// What an operator knows of a member that doesn't answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Glimpse {
    pub process: u8,
    pub kernel: u8,
    pub volume: u8,
    pub executed: Set,
}

/// Commands that are still to be sent; by number (`Tables`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    pub id: u16,
    pub at: u8,
}

/// A command that was sent, or was about to be, and may take effect whenever it likes, unless its session was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Late {
    pub plan: Plan,
    /// One past the last one that may follow.
    pub end: u8,
    /// The version of the record that it names is the newest.
    pub current: bool,
    pub noted: Set,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operator {
    pub record: Rec,
    /// Its copy is the newest.
    pub current: bool,
    pub must_claim: bool,
    pub plan: Option<Plan>,
    /// Members whose process is another one since the plan was made: a command goes to the one that was looked at, or fails.
    pub changed: [bool; 2],
    pub noted: Set,
    pub late: Option<Late>,
    pub last: [Option<Glimpse>; 2],
}

/// What went wrong in a step, where the states alone don't show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wrong {
    PromotedFromSolo,
    Law,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Both members; the third is a stranger that follows, in the scenes that have one.
    pub servers: [Server; 3],
    pub strangers: bool,
    /// Deletions of each member's pod.
    pub pods: [u8; 2],
    /// The link between the members is cut.
    pub cut: bool,
    /// The operators can't reach the member.
    pub blind: [bool; 2],
    /// In etcd.
    pub record: Rec,
    pub operators: [Operator; 2],
    pub leader: u8,
    /// A look at one member that was taken earlier and is used for the next decision.
    pub peek: Option<Box<(u8, Server, u32)>>,
    /// A person asks for a switchover to this member.
    pub asked: Option<u8>,
    /// Who wrote each transaction (from the second on), by volume.
    pub origins: [u8; 6],
    pub writes: u8,
    pub volumes: u8,
    /// Clients were told OK.
    pub acked: Set,
    /// Never to be seen again: nobody was told OK, and the member that wrote them was deposed.
    pub dead: Set,
    pub left: Budget,
    pub wrong: Option<Wrong>,
}

fn pack(server: &Server) -> [u64; 3] {
    let flags = [server.alive, server.hung, server.marked, server.read_only, server.offline, server.acks, server.acker, server.acknowledges, server.applier, server.applier_error];
    let mut bits = flags.iter().fold(0, |bits, flag| bits << 1 | u64::from(*flag));
    let small = |n: Option<u8>| n.map_or(15, u64::from);
    let receiver = match server.receiver {
        Receiver::Off => 0,
        Receiver::Connecting => 1,
        Receiver::On => 2,
    };
    for (value, width) in [(receiver, 2), (small(server.source), 4), (small(server.met), 4), (small(server.cloning), 4), (server.wait_count.into(), 4), (server.process.into(), 8), (server.kernel.into(), 4), (server.volume.into(), 4)] {
        bits = bits << width | value;
    }
    let sets = [server.executed, server.purged, server.received, server.unsynced];
    let rest = (server.pending.0 as u64) << 32 | (server.undone.0 as u64) << 16 | server.rewound.map_or(0, u64::from);
    [bits, sets.iter().fold(0, |bits, set| bits << 16 | set.0 as u64), rest]
}

impl Hash for State {
    fn hash<H: Hasher>(&self, h: &mut H) {
        let servers = if self.strangers { 3 } else { 2 };
        for server in &self.servers[..servers] {
            pack(server).iter().for_each(|bits| h.write_u64(*bits));
        }
        for op in &self.operators {
            let plan = op.plan.map_or(u64::MAX >> 32, |p| u64::from(p.id) << 8 | u64::from(p.at));
            h.write_u64(u64::from(op.record.id) << 40 | plan << 8 | u64::from(op.changed[0]) << 3 | u64::from(op.changed[1]) << 2 | u64::from(op.current) << 1 | u64::from(op.must_claim));
            h.write_u64(op.noted.0 as u64);
            op.late.hash(h);
            op.last.hash(h);
        }
        h.write_u64(u64::from(self.record.id) << 32 | u64::from(self.pods[0]) << 24 | u64::from(self.pods[1]) << 16 | u64::from(self.leader) << 8 | u64::from(self.cut) << 2 | u64::from(self.blind[0]) << 1 | u64::from(self.blind[1]));
        h.write_u64(self.acked.0 as u64 | (self.dead.0 as u64) << 16 | u64::from(self.volumes) << 32 | u64::from(self.writes) << 40);
        h.write(&self.origins);
        (&self.peek, self.asked, self.left, self.wrong).hash(h);
    }
}

impl State {
    /// Who wrote what, in the form of the simulation.
    pub fn log(&self) -> Log {
        let mut log = Log::default();
        for volume in &self.origins[..self.writes as usize] {
            log.write(*volume);
        }
        log
    }

    pub fn member(&self, member: u8) -> &Server {
        &self.servers[member as usize]
    }

    pub fn member_mut(&mut self, member: u8) -> &mut Server {
        &mut self.servers[member as usize]
    }

    pub fn lead(&self) -> &Operator {
        &self.operators[self.leader as usize]
    }

    pub fn lead_mut(&mut self) -> &mut Operator {
        &mut self.operators[self.leader as usize]
    }

    /// Can one member's receiver talk to the other's server?
    pub fn linked(&self, a: u8, b: u8) -> bool {
        self.member(a).runs() && self.member(b).runs() && (!self.cut || a == 2 || b == 2)
    }

    pub fn reaches(&self, member: u8) -> bool {
        self.member(member).runs() && !self.blind[member as usize]
    }

    pub fn names(&self) -> std::ops::Range<u8> {
        0..if self.strangers { 3 } else { 2 }
    }

    /// Connected semi-sync clients of a member, as far as they can be heard now.
    pub fn ackers(&self, member: u8) -> Vec<&Server> {
        let acks = |f: &u8| {
            let follower = self.member(*f);
            *f != member && follower.source == Some(member) && follower.receiver == Receiver::On && follower.acknowledges && self.linked(*f, member)
        };
        self.names().filter(acks).map(|f| self.member(f)).collect()
    }

    /// Could a client be told OK by this member, now or as soon as it wakes and links heal?
    pub fn can_acknowledge(&self, member: u8) -> bool {
        let server = self.member(member);
        let may = |f: &u8| {
            let follower = self.member(*f);
            let acks = match follower.receiver {
                Receiver::Off => false,
                Receiver::Connecting => follower.acker,
                Receiver::On => follower.acknowledges,
            };
            *f != member && follower.alive && follower.source == Some(member) && acks
        };
        server.open() && (!server.acks || self.names().filter(may).count() >= usize::from(server.wait_count))
    }

    /// In words, for stories.
    pub fn words(&self) -> String {
        let log = self.log();
        let mut text = String::new();
        for member in self.names() {
            let s = self.member(member);
            let life = match (s.alive, s.hung) {
                (false, _) => "dead",
                (true, true) => "hung",
                (true, false) if s.open() => "open",
                (true, false) => "closed",
            };
            let _ = write!(text, "m{member} {life}, has {}", log.words(s.executed));
            if s.acks {
                text.push_str(", waits for acks");
            }
            if !s.pending.is_empty() {
                let _ = write!(text, ", {} waits", log.words(s.pending));
            }
            if let (Some(source), true) = (s.source, s.receiver != Receiver::Off) {
                let _ = write!(text, ", receiver {:?} from m{source}{}", s.receiver, if s.acker { " as acker" } else { "" });
            }
            if !s.undrained().is_empty() {
                let _ = write!(text, ", received {}", log.words(s.undrained()));
            }
            text.push_str("; ");
        }
        let _ = write!(text, "record: m{} {}; told OK: {}", self.record.primary, if self.record.sync { "Sync" } else { "Solo" }, log.words(self.acked));
        text
    }
}
