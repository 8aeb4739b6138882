//! What an error of MySQL means for a call: did anything happen, and may it be tried again? No IO.
//!
//! Until COMMIT is sent, a transaction that breaks has done nothing: the server undoes it. So everything before is safe
//! to repeat, and only a COMMIT without an answer is in doubt.

use std::time::Duration;

use mysql_async::Error;

use crate::routing::refusal::{Kind, Refusal};
use crate::routing::RouteError;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The key has no shard. Nothing was done.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// MySQL said no, or the work did. Nothing was done.
    #[error("{0}")]
    Refused(String),
    /// MySQL said no with this code. Nothing was done.
    #[error("MySQL error {code}: {message}")]
    Server {
        /// MySQL's error number.
        code: u16,
        /// Its text.
        message: String,
    },
    /// The shard did not answer, or was read-only, all the time. Nothing was done.
    #[error("shard {shard} is not available, tried for {waited:?}: {last}")]
    Unavailable {
        /// Which.
        shard: u32,
        /// For how long it was tried.
        waited: Duration,
        /// The last failure.
        last: String,
    },
    /// Too many calls are under way. Nothing was done.
    #[error("shard {shard} has too many calls under way: shed")]
    Shed {
        /// Which.
        shard: u32,
    },
    /// COMMIT was sent and its answer is missing: it may have happened or not. Look before repeating.
    #[error("in doubt: COMMIT was sent to shard {shard} and not answered: {why}")]
    InDoubt {
        /// Which.
        shard: u32,
        /// What happened to the answer.
        why: String,
    },
}

/// What to do after a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing was done; try again here.
    Again {
        /// With new connections: those that there are lead to a place that is gone.
        anew: bool,
        /// How many times in a row at most; None: until patience ends.
        at_most: Option<u32>,
    },
    /// Nothing was done; the key is elsewhere, or about to be: in a newer map. The epoch is the pair's.
    Moved(i64),
    /// Nothing was done, and repeating is no use.
    No(CallError),
    /// It may have been done.
    Doubt(String),
}

/// Where a call was when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Before COMMIT was sent.
    Before,
    /// After it.
    Commit,
}

/// The member doesn't take writes (any more): read-only, offline, shutting down, session ended.
const LEAVING: [u16; 8] = [1290, 1836, 3032, 1053, 1927, 3168, 3169, 4031];
/// Read-only answers: a COMMIT that gets one was not carried out.
const READ_ONLY: [u16; 2] = [1290, 1836];
/// Deadlock, lock wait: the server undid it.
const CONTENTION: [u16; 3] = [1213, 1205, 3572];
/// No room for a connection now.
const FULL: [u16; 3] = [1040, 1203, 1226];

/// Reads an error.
pub fn verdict(error: &Error, phase: Phase) -> Verdict {
    let again = |anew, at_most| Verdict::Again { anew, at_most };
    match (error, phase) {
        (Error::Server(e), _) if READ_ONLY.contains(&e.code) => again(true, None),
        (Error::Server(e), _) if CONTENTION.contains(&e.code) => again(false, Some(5)),
        (Error::Server(e), Phase::Before) => match Refusal::parse(e.code, &e.message) {
            Some(Refusal { kind: Kind::Moved, epoch, .. }) => Verdict::Moved(epoch),
            Some(Refusal { kind: Kind::Crossing, .. }) => {
                Verdict::No(CallError::Server { code: e.code, message: format!("{}: delete the row and insert it under its new key, each where it belongs", e.message) })
            }
            Some(Refusal { kind: Kind::NotYet, .. }) => {
                Verdict::No(CallError::Server { code: e.code, message: format!("{}: the table takes writes here after the plan's Dissolved", e.message) })
            }
            None if LEAVING.contains(&e.code) => again(true, None),
            None if FULL.contains(&e.code) => again(false, None),
            None => Verdict::No(CallError::Server { code: e.code, message: e.message.clone() }),
        },
        // What else COMMIT may answer (an interrupted wait, an error of the log) says nothing for certain.
        (Error::Server(e), Phase::Commit) => Verdict::Doubt(format!("MySQL error {}: {}", e.code, e.message)),
        (Error::Io(_), Phase::Before) => again(true, None),
        (Error::Driver(e), Phase::Before) if lost(e) => again(true, None),
        (Error::Io(_) | Error::Driver(_), Phase::Commit) => Verdict::Doubt(error.to_string()),
        (Error::Driver(_) | Error::Other(_) | Error::Url(_), _) => Verdict::No(CallError::Refused(error.to_string())),
    }
}

fn lost(error: &mysql_async::DriverError) -> bool {
    use mysql_async::DriverError as D;
    matches!(error, D::ConnectionClosed | D::PoolDisconnected | D::PacketOutOfOrder | D::UnexpectedPacket { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: u16, message: &str) -> Error {
        Error::Server(mysql_async::ServerError { code, message: message.to_owned(), state: "HY000".to_owned() })
    }

    #[test]
    fn only_an_unanswered_commit_is_in_doubt() {
        let broken = || Error::Io(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into());
        assert_eq!(verdict(&broken(), Phase::Before), Verdict::Again { anew: true, at_most: None });
        assert!(matches!(verdict(&broken(), Phase::Commit), Verdict::Doubt(_)));
        assert!(matches!(verdict(&mysql_async::DriverError::ConnectionClosed.into(), Phase::Commit), Verdict::Doubt(_)));
        // Killed in the wait for the acknowledgement, or an error of the binlog.
        for code in [1317, 1180, 1927, 1053] {
            assert!(matches!(verdict(&server(code, ""), Phase::Commit), Verdict::Doubt(_)), "{code}");
        }
        for phase in [Phase::Before, Phase::Commit] {
            assert_eq!(verdict(&server(1290, "super-read-only"), phase), Verdict::Again { anew: true, at_most: None });
        }
    }

    #[test]
    fn what_the_guard_and_the_user_refuse() {
        assert_eq!(verdict(&server(31_001, "shardpair moved epoch=12 class=3 table=shop.orders"), Phase::Before), Verdict::Moved(12));
        assert!(matches!(verdict(&server(31_001, "somebody else's"), Phase::Before), Verdict::No(CallError::Server { code: 31_001, .. })));
        assert!(matches!(verdict(&server(31_002, "shardpair crossing epoch=12 class=3 table=shop.orders"), Phase::Before), Verdict::No(_)));
        assert!(matches!(verdict(&server(1062, "Duplicate entry"), Phase::Before), Verdict::No(CallError::Server { code: 1062, .. })));
        assert!(matches!(verdict(&Error::Other("sold out".into()), Phase::Before), Verdict::No(CallError::Refused(text)) if text.contains("sold out")));
        assert_eq!(verdict(&server(1213, ""), Phase::Before), Verdict::Again { anew: false, at_most: Some(5) });
    }
}
