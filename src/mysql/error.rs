//! What can go wrong with a member, typed, so that the pair protocol can tell "dead" from "silent" from "says no".
//!
//! Every error names the member, what was being done there, and what to do. Invariants 4-9 rest on the distinctions:
//! after `NoAnswer` a command may still run when the process wakes (invariant 7). No error ever carries a secret:
//! statements that hold one are described by a label instead of their text.

use std::time::Duration;

use super::gtid::GtidSet;

/// An error of one verb on one member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing listens there: the process is gone, or has not opened its port yet.
    #[error("{member}: {address} refuses connections: mysqld is not running there, or not yet")]
    Refused {
        /// The member.
        member: String,
        /// host:port
        address: String,
    },
    /// No way to the host: name, route, network.
    #[error("{member}: {address} can't be reached ({cause}): look at the pod, its node and the network between")]
    Unreachable {
        /// The member.
        member: String,
        /// host:port
        address: String,
        /// The system's words.
        cause: String,
    },
    /// The connection ended while it was in use: the process died, or something between ended it.
    #[error("{member}: the connection broke while {doing} ({cause}): the process died, ended this session, or the way is cut")]
    Broken {
        /// The member.
        member: String,
        /// What was being done.
        doing: String,
        /// The system's words.
        cause: String,
    },
    /// Nothing came back in time. The command may run later: the session is closed, and must be ended on the server too.
    #[error("{member}: no answer within {deadline:?} while {doing}: it may still be carried out; end session {session} before going on")]
    NoAnswer {
        /// The member.
        member: String,
        /// What was being done.
        doing: String,
        /// How long was waited.
        deadline: Duration,
        /// The server's id of the session; 0: it was still connecting.
        session: u32,
    },
    /// The server refuses this account.
    #[error("{member}: login of {user} refused ({code}: {message}): do the member's accounts match the cluster's Secret?")]
    Denied {
        /// The member.
        member: String,
        /// The account.
        user: String,
        /// MySQL's error number.
        code: u16,
        /// MySQL's text.
        message: String,
    },
    /// The server answered with an error.
    #[error("{member}: {doing}: MySQL says {code}: {message}")]
    Server {
        /// The member.
        member: String,
        /// What was being done.
        doing: String,
        /// MySQL's error number.
        code: u16,
        /// MySQL's text.
        message: String,
    },
    /// The command succeeded, and yet what it should have brought about is not seen.
    #[error("{member}: {doing}: done, but then seen: {seen}")]
    NotSeen {
        /// The member.
        member: String,
        /// What was being done.
        doing: String,
        /// What is there instead.
        seen: String,
    },
    /// The condition did not come within the time given; the session is fine.
    #[error("{member}: {doing}: not within {deadline:?}: {state}")]
    TimedOut {
        /// The member.
        member: String,
        /// What was awaited.
        doing: String,
        /// How long.
        deadline: Duration,
        /// How it stood at the end.
        state: String,
    },
    /// Invariant 5: a channel with received transactions that are not applied is never reset.
    #[error("{member}: received and not applied yet: {missing:#}; drain the applier first (invariant 5)")]
    NotDrained {
        /// The member.
        member: String,
        /// What would be dropped.
        missing: GtidSet,
    },
    /// Invariant "while a commit waits": the statement would dead-lock logins, the acker's among them.
    #[error("{member}: {doing} refused: {waiting} commits wait for an acknowledgement; try again when none does")]
    CommitsWait {
        /// The member.
        member: String,
        /// What was to be done.
        doing: String,
        /// How many wait.
        waiting: u32,
    },
    /// Something was larger than allowed.
    #[error("{member}: {what} is larger than {limit} bytes: {needed} bytes seen")]
    TooLarge {
        /// The member.
        member: String,
        /// What.
        what: String,
        /// The bound.
        limit: u64,
        /// What it would take, as far as it is known.
        needed: u64,
    },
    /// A name or value can't be used in a statement, or the answer can't be read.
    #[error("{member}: {doing}: {why}")]
    Malformed {
        /// The member.
        member: String,
        /// What was being done.
        doing: String,
        /// Why not.
        why: String,
    },
}

impl Error {
    /// MySQL's error number, if the server answered with one.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Server { code, .. } | Self::Denied { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// The connection is gone, or was never there: a new one is needed.
    pub fn is_connection(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Unreachable { .. } | Self::Broken { .. } | Self::NoAnswer { .. })
    }

    /// The member.
    pub fn member(&self) -> &str {
        match self {
            Self::Refused { member, .. }
            | Self::Unreachable { member, .. }
            | Self::Broken { member, .. }
            | Self::NoAnswer { member, .. }
            | Self::Denied { member, .. }
            | Self::Server { member, .. }
            | Self::NotSeen { member, .. }
            | Self::TimedOut { member, .. }
            | Self::NotDrained { member, .. }
            | Self::CommitsWait { member, .. }
            | Self::TooLarge { member, .. }
            | Self::Malformed { member, .. } => member,
        }
    }
}
