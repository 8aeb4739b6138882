//! The command sessions: one per member, kept open, so that a failover needs no login.
//!
//! Leadership is checked before each command and after connecting; a session whose command got no answer is ended on the
//! server before anything else is sent there (invariant 7).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::controller::leader::Leadership;
use crate::controller::prober::Target;
use crate::mysql::sessions;
use crate::mysql::{Error, Session};

const CONNECT: Duration = Duration::from_millis(1_500);

/// Why a step wasn't carried out. The rest of the decision is dropped; the next pass looks again.
#[derive(Clone, Debug)]
pub struct Surprise {
    step: String,
    what: String,
}

impl Surprise {
    /// At which step, what.
    pub fn new(step: impl Into<String>, what: impl Into<String>) -> Self {
        Self { step: step.into(), what: what.into() }
    }
}

impl fmt::Display for Surprise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step, self.what)
    }
}

#[derive(Default)]
struct Hand {
    target: Option<Target>,
    session: Option<Session>,
    unanswered: Option<u32>,
    process: String,
}

/// See the module.
pub(super) struct Hands {
    leadership: Leadership,
    hands: BTreeMap<String, Hand>,
}

impl Hands {
    pub(super) fn new(leadership: Leadership) -> Self {
        Self { leadership, hands: BTreeMap::new() }
    }

    /// Where a member is now.
    pub(super) fn aim(&mut self, member: &str, target: &Target) {
        let hand = self.hands.entry(member.to_owned()).or_default();
        let same = hand.target.as_ref().is_some_and(|t| t.same_server(target));
        if !same {
            *hand = Hand { target: Some(target.clone()), ..Hand::default() };
        }
    }

    /// The session's number, for the prober to keep.
    pub(super) fn id(&self, member: &str) -> Option<u32> {
        self.hands.get(member)?.session.as_ref().filter(|s| s.is_usable()).map(Session::id)
    }

    /// A session on the member, connected now if need be.
    pub(super) async fn session(&mut self, member: &str) -> Result<&mut Session, Error> {
        let refused = |why: &str| Error::Malformed { member: member.to_owned(), doing: "commanding".to_owned(), why: why.to_owned() };
        if !self.leadership.holds() {
            return Err(refused("this operator doesn't lead"));
        }
        let hand = self.hands.entry(member.to_owned()).or_default();
        let Some(target) = hand.target.clone() else { return Err(refused("its address isn't known")) };
        if let Some(old) = hand.session.take_if(|s| !s.is_usable()) {
            hand.unanswered = Some(old.id());
        }
        if hand.session.is_none() {
            let Some(endpoint) = &target.at else { return Err(refused("its pod has no address")) };
            let mut session = Session::connect(endpoint, &target.credentials, CONNECT).await?;
            // What was decided is for the process that was looked at: another one has no role yet (invariant 6).
            let process = session.scalar("SELECT @@report_user", CONNECT).await?.unwrap_or_default();
            if !hand.process.is_empty() && process != hand.process {
                return Err(refused("another process answers than the one that was looked at"));
            }
            if !self.leadership.holds() {
                return Err(refused("this operator doesn't lead"));
            }
            if let Some(id) = hand.unanswered.filter(|id| *id != 0) {
                sessions::end_session(&mut session, id, CONNECT).await?;
            }
            hand.unanswered = None;
            hand.session = Some(session);
        }
        Ok(hand.session.as_mut().expect("connected above"))
    }

    /// This process answers on the member now: a session to another one is of no use, and commands are for this one only.
    pub(super) fn meet(&mut self, member: &str, process: &str) {
        let hand = self.hands.entry(member.to_owned()).or_default();
        if hand.process != process {
            hand.process = process.to_owned();
            hand.session = None;
            hand.unanswered = None;
        }
    }

    /// Connects where a command may be needed in a hurry.
    pub(super) async fn warm(&mut self, member: &str) {
        if self.id(member).is_none() {
            let _ = self.session(member).await;
        }
    }
}
