//! metav1 Conditions: types, and the one way to set them. Pure: the time comes from the caller.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Everything is as the spec wants it.
pub const READY: &str = "Ready";
/// Writes are possible.
pub const AVAILABLE: &str = "Available";
/// Every acknowledged write is on two members.
pub const REDUNDANT: &str = "Redundant";
/// Something is being changed.
pub const RECONCILING: &str = "Reconciling";
/// Nothing goes on without a person; the message says what to do.
pub const STALLED: &str = "Stalled";
/// ExpansionPlan: done.
pub const COMPLETE: &str = "Complete";
/// ExpansionPlan: under way.
pub const PROGRESSING: &str = "Progressing";

/// A condition's three values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It holds.
    True,
    /// It doesn't.
    False,
    /// Can't be told.
    Unknown,
}

impl From<bool> for Status {
    fn from(b: bool) -> Self {
        if b { Self::True } else { Self::False }
    }
}

impl Status {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// What a condition shall say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// [`READY`], …
    pub type_: &'static str,
    /// Its value.
    pub status: Status,
    /// One word in CamelCase.
    pub reason: String,
    /// A sentence; for a refusal, what to do.
    pub message: String,
}

impl Said {
    /// A condition in one line.
    pub fn new(type_: &'static str, status: impl Into<Status>, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { type_, status: status.into(), reason: reason.into(), message: message.into() }
    }
}

/// Sets one condition among others: `lastTransitionTime` stays when the status does.
pub fn upsert(conditions: &mut Vec<Condition>, said: Said, generation: Option<i64>, now: Timestamp) {
    let status = said.status.as_str();
    let at = conditions.iter().position(|c| c.type_ == said.type_);
    let since = at.map(|i| &conditions[i]).filter(|c| c.status == status).map(|c| c.last_transition_time.clone());
    let new = Condition {
        type_: said.type_.to_owned(),
        status: status.to_owned(),
        reason: said.reason,
        message: said.message,
        observed_generation: generation,
        last_transition_time: since.unwrap_or(Time(now)),
    };
    match at {
        Some(i) => conditions[i] = new,
        None => conditions.push(new),
    }
}

/// Removes a condition that exists only while it holds (`Stalled`, `Reconciling`).
pub fn remove(conditions: &mut Vec<Condition>, type_: &str) {
    conditions.retain(|c| c.type_ != type_);
}

/// The condition of a type.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == type_)
}

/// Is the condition there, and True?
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(|c| c.status == "True")
}

/// Of an expansion: the condition that tells what it does or waits for. First that nothing goes on without a person, then that all is done:
/// a plan that was paused, or asked for something, afterwards is as done as before.
pub fn of_plan(conditions: &[Condition]) -> Option<&Condition> {
    let holds = |type_| find(conditions, type_).filter(|c| c.status == "True");
    holds(STALLED).or_else(|| holds(COMPLETE)).or_else(|| find(conditions, PROGRESSING))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(said: &[(&'static str, bool, &str)]) -> Option<String> {
        let mut all = Vec::new();
        said.iter().for_each(|(type_, holds, reason)| upsert(&mut all, Said::new(type_, *holds, *reason, ""), None, Timestamp::UNIX_EPOCH));
        of_plan(&all).map(|c| c.reason.clone())
    }

    #[test]
    fn a_plan_tells_what_a_person_has_to_do_then_that_it_is_done_then_what_it_does() {
        let paused = [(COMPLETE, true, "Complete"), (PROGRESSING, false, "Paused")];
        assert_eq!(told(&paused).as_deref(), Some("Complete"), "paused when it was complete");
        assert_eq!(told(&[paused[0], paused[1], (STALLED, true, "TooLate")]).as_deref(), Some("TooLate"));
        assert_eq!(told(&[(COMPLETE, false, "Flipping"), (PROGRESSING, true, "Flipping"), (STALLED, false, "Misrouted")]).as_deref(), Some("Flipping"));
        assert_eq!(told(&[]), None);
    }
}
