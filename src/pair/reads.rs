//! Where the Service for reads leads: to the standby, while it is the pair's, in Sync, and not too far behind. Pure.
//!
//! Nothing of the pair's safety rests on it: it is decided beside the pair's own decision, after it, and its slice is written while no
//! move is under way (invariant 10). What isn't known changes nothing: an operator that has just begun to look leaves it as it is.

use super::decide::{FRESH_MS, View};
use super::facts::Contact;
use super::record::Mode;

/// What becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reads {
    /// It leads to this member.
    Lead(String),
    /// It leads nowhere: clients read the primary.
    Nowhere(&'static str),
    /// Not known now: as it is.
    Keep,
}

/// `leads`: the member that it leads to now. A member that has left comes back when it is within half the bound.
pub fn place(view: &View, max_lag_ms: u64, leads: Option<&str>) -> Reads {
    let record = view.record;
    let Some((name, member)) = view.standby() else { return Reads::Nowhere("there is no standby") };
    if record.mode != Mode::Sync {
        return Reads::Nowhere("the pair isn't in Sync");
    }
    // Who replicates from another pair, or is about to be replaced, isn't this pair's standby for readers.
    if record.follows.is_some() || record.rebuild.as_ref().is_some_and(|r| r.member == name) {
        return Reads::Nowhere("the standby's data isn't the pair's own");
    }
    match member.contact {
        Contact::Never => return Reads::Keep,
        Contact::Refused(_) => return Reads::Nowhere("the standby refuses the operator"),
        Contact::Broken { .. } => return Reads::Nowhere("the standby doesn't answer"),
        Contact::Silent { for_ms } if for_ms >= max_lag_ms => return Reads::Nowhere("the standby doesn't answer"),
        Contact::Silent { .. } => return Reads::Keep,
        Contact::Answering => {}
    }
    if member.pod.as_ref().is_none_or(|p| p.terminating) {
        return Reads::Nowhere("the standby's pod is going");
    }
    // Its answer is late; if it stays so it becomes silent.
    if member.facts_age_ms > FRESH_MS {
        return Reads::Keep;
    }
    let Some(facts) = view.standby_answer() else { return Reads::Nowhere("what answers isn't the recorded standby") };
    let channel = facts.channel.as_ref();
    if facts.offline_mode || !facts.super_read_only || facts.rebuild_marker || facts.cloning.is_some() {
        return Reads::Nowhere("the standby isn't open for reads");
    }
    if channel.is_none_or(|c| !c.applier_running || !c.applier_error.is_empty()) {
        return Reads::Nowhere("the standby's applier doesn't run");
    }
    let bound = if leads == Some(name) { max_lag_ms } else { max_lag_ms / 2 };
    match facts.lag_seconds {
        // MySQL's seconds are cut off: 0 is anything below one.
        Some(seconds) if u64::try_from(seconds).unwrap_or(0) * 1_000 <= bound => Reads::Lead(name.to_owned()),
        Some(_) => Reads::Nowhere("the standby is too far behind"),
        None => Reads::Nowhere("how far the standby is behind isn't known"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::facts::{Channel, Facts, Member, Observation, Pod, ReceiverState};
    use crate::pair::record::{self, Record};
    use crate::pair::settings::Settings;

    const BOUND: u64 = 4_000;

    fn record() -> Record {
        let member = |name: &str| record::Member { name: name.to_owned(), volume: format!("v-{name}"), server_uuid: format!("u-{name}"), ..Default::default() };
        Record { epoch: 3, primary: "m0".to_owned(), standby: Some("m1".to_owned()), mode: Mode::Sync, members: vec![member("m0"), member("m1")], ..Record::default() }
    }

    fn facts(lag: i64) -> Facts {
        let channel = Channel {
            receiver: ReceiverState::On, source_host: String::new(), source_uuid: "u-m0".to_owned(), received: Default::default(), silent_ms: Some(0),
            receiver_error: String::new(), applier_running: true, applier_error: String::new(),
        };
        Facts { server_uuid: "u-m1".to_owned(), super_read_only: true, channel: Some(channel), lag_seconds: Some(lag), ..Facts::default() }
    }

    fn member(facts: Facts) -> Member {
        Member { pod: Some(Pod::default()), volume: Some("v-m1".to_owned()), contact: Contact::Answering, facts: Some(facts), ..Member::default() }
    }

    fn at(record: &Record, member: Member, leads: Option<&str>) -> Reads {
        let seen = Observation { members: [("m1".to_owned(), member)].into(), ..Observation::default() };
        place(&View { record, settings: &Settings::default(), seen: &seen, now: jiff::Timestamp::UNIX_EPOCH }, BOUND, leads)
    }

    fn nowhere(reads: &Reads) -> bool {
        matches!(reads, Reads::Nowhere(_))
    }

    #[test]
    fn a_standby_in_sync_and_within_the_bound_is_read_and_comes_back_within_half_of_it() {
        let lead = Reads::Lead("m1".to_owned());
        for (lag, leads, wanted) in [(0, None, true), (2, None, true), (3, None, false), (3, Some("m1"), true), (4, Some("m1"), true), (5, Some("m1"), false), (3, Some("m0"), false)] {
            let reads = at(&record(), member(facts(lag)), leads);
            assert_eq!(reads == lead, wanted, "{lag} s, leads to {leads:?}: {reads:?}");
        }
        assert!(nowhere(&at(&record(), member(Facts { lag_seconds: None, ..facts(0) }), Some("m1"))));
    }

    #[test]
    fn who_isnt_the_pairs_standby_is_never_read() {
        for record in [
            Record { mode: Mode::Solo, ..record() },
            Record { standby: None, ..record() },
            Record { follows: Some(record::Follows { pair: "shop-0".to_owned(), given_back: None }), ..record() },
        ] {
            assert!(nowhere(&at(&record, member(facts(0)), Some("m1"))), "{record:?}");
        }
        for facts in [
            Facts { server_uuid: "another".to_owned(), ..facts(0) },
            Facts { offline_mode: true, ..facts(0) },
            Facts { super_read_only: false, ..facts(0) },
            Facts { rebuild_marker: true, ..facts(0) },
            Facts { cloning: Some((0, 1)), ..facts(0) },
            Facts { channel: None, ..facts(0) },
            Facts { channel: facts(0).channel.map(|c| Channel { applier_running: false, ..c }), ..facts(0) },
            Facts { channel: facts(0).channel.map(|c| Channel { applier_error: "1062".to_owned(), ..c }), ..facts(0) },
        ] {
            assert!(nowhere(&at(&record(), member(facts.clone()), Some("m1"))), "{facts:?}");
        }
        let other_volume = Member { volume: Some("another".to_owned()), ..member(facts(0)) };
        let going = Member { pod: Some(Pod { terminating: true, ..Pod::default() }), ..member(facts(0)) };
        for member in [other_volume, going, Member { pod: None, ..member(facts(0)) }] {
            assert!(nowhere(&at(&record(), member.clone(), Some("m1"))), "{member:?}");
        }
    }

    #[test]
    fn what_isnt_known_changes_nothing_for_a_while() {
        let with = |contact| at(&record(), Member { contact, ..member(facts(0)) }, Some("m1"));
        assert_eq!((with(Contact::Never), with(Contact::Silent { for_ms: BOUND - 1 })), (Reads::Keep, Reads::Keep));
        assert!(nowhere(&with(Contact::Silent { for_ms: BOUND })) && nowhere(&with(Contact::Broken { for_ms: 1, refused: true })));
    }
}
