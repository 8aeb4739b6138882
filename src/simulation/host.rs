//! A member in the simulation: its mysqld, and the node, disk and pod around it.

use super::server::Server;

/// See the module.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its mysqld.
    pub server: Server,
    /// The operators can't reach it.
    pub blind: bool,
    /// Other members can't reach it.
    pub cut: bool,
    /// Its kubelet can't reach the API server: a deleted pod stays.
    pub stranded: bool,
    /// Its disk is full: writes hang, the receiver receives nothing.
    pub full: bool,
    /// Its applier is busy with something long.
    pub busy: bool,
    /// Its node has no power.
    pub dark: bool,
    /// Its node is drained.
    pub cordoned: bool,
    /// Its pod is being deleted.
    pub terminating: bool,
    /// Its tails can't be undone from the binlog.
    pub uninvertible: bool,
    /// A session of the application from before a guard is at work, and doesn't end.
    pub at_work: bool,
    /// A transaction with keys that move is open: the fence waits for it.
    pub held: bool,
    /// Pods so far.
    pub pod: u32,
    /// Since when it is dead.
    pub dead_since: u64,
    /// Since when its receiver has heard nothing.
    pub silent_since: Option<u64>,
    /// Since when a write waits.
    pub waits_since: Option<u64>,
    /// Since when a clone runs.
    pub clone_since: u64,
}

impl Host {
    /// A process on a node that is well.
    pub fn new(server: Server) -> Self {
        Self {
            server,
            blind: false,
            cut: false,
            stranded: false,
            full: false,
            busy: false,
            dark: false,
            cordoned: false,
            terminating: false,
            uninvertible: false,
            at_work: false,
            held: false,
            pod: 1,
            dead_since: 0,
            silent_since: None,
            waits_since: None,
            clone_since: 0,
        }
    }

    /// Everything that was wrong around it is well again.
    pub fn heal(&mut self) {
        (self.blind, self.cut, self.stranded, self.full, self.busy, self.dark) = (false, false, false, false, false, false);
        (self.cordoned, self.server.hung, self.at_work, self.held) = (false, false, false, false);
    }
}
