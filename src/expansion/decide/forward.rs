//! The way forward: prepare, flip, dissolve, purge.

use jiff::Timestamp;

use super::Said;
use super::view::View;
use crate::api::expansion::Phase;
use crate::expansion::facts::Level;
use crate::expansion::step::{Reason, Step, Work};

/// New pairs one after the other, so that one donor at a time is read; then the map.
pub(super) fn prepare(v: &View) -> Option<Said> {
    if v.aim() < Some(Phase::Prepared) {
        return None;
    }
    if let Some(s) = v.first_below(Phase::Prepared) {
        return Some(prepare_one(v, s));
    }
    (!v.announced() && !v.past()).then(|| {
        Said::go(Reason::Announcing, format!("the map has {} shards from now on", v.plan.to_shards), vec![Step::Announce(v.plan.to_shards)])
    })
}

fn prepare_one(v: &View, s: u32) -> Said {
    let child = v.plan.child(s);
    if v.made(s).is_none() {
        if v.pair(child).is_some() {
            return Said::wait(Reason::PairStuck, format!("the pair of shard {child} exists and is not this plan's: delete it if nothing is on it"));
        }
        if let Some(why) = v.unwell(s) {
            return Said::wait(Reason::Degraded, format!("shard {s} is prepared when its pair is in Sync and at rest; {why}"));
        }
        return Said::go(
            Reason::Preparing,
            format!("the pair of shard {child} is made: it will follow that of shard {s}"),
            vec![Step::MakePair { parent: s, child }, Step::Ask { parent: s, until: Level::Prepared }],
        );
    }
    if v.asked(s).is_none() {
        return Said::go(Reason::Preparing, format!("shard {s} is asked to prepare"), vec![Step::Ask { parent: s, until: Level::Prepared }]);
    }
    waits(v, s, Reason::Preparing, format!("shard {s}: the pair of shard {child} is filled and follows"))
}

/// Waits for a split's two pairs, in their own words.
fn waits(v: &View, s: u32, reason: Reason, what: String) -> Said {
    let pairs = [v.pair(s), v.pair(v.plan.child(s))];
    let says: Vec<_> = pairs.iter().flatten().filter_map(|p| p.says.clone()).collect();
    let reason = if pairs.iter().flatten().any(|p| p.stuck) { Reason::PairStuck } else { reason };
    Said::wait(reason, if says.is_empty() { what } else { format!("{what}: {}", says.join("; ")) })
}

/// One shard at a time.
pub(super) fn flip(v: &View) -> Option<Said> {
    if v.aim() < Some(Phase::Flipped) {
        return None;
    }
    // One that was on its way back is asked again.
    let turned = |s: u32| v.reached(s) == Some(Phase::Flipped) && !v.is_flipped(s);
    let s = v.plan.parents().find(|s| v.reached(*s) < Some(Phase::Flipped) || turned(*s))?;
    let child = v.plan.child(s);
    if v.asked(s) >= Some(Level::Flipped) {
        return Some(waits(v, s, Reason::Flipping, format!("keys of shard {child} move")));
    }
    if let Some(said) = clients(v) {
        return Some(said);
    }
    Some(match v.unfit(s).or_else(|| v.unfit(child)) {
        Some(why) => Said::wait(Reason::Degraded, format!("shard {s} flips when both pairs are in Sync and at rest; {why}")),
        None => Said::go(Reason::Flipping, format!("keys of shard {child} move"), vec![Step::Ask { parent: s, until: Level::Flipped }]),
    })
}

/// Before the first key moves: clients that know the new shards find it at once, the others by the guard's refusal. Waited for, not for ever.
fn clients(v: &View) -> Option<Said> {
    let seen = v.seen.clients.as_ref()?;
    let ends = Timestamp::from_millisecond(v.plan.announced_at?.as_millisecond().saturating_add(v.plan.clients_ms)).ok()?;
    let (left, until) = (ends.as_millisecond() - v.now.as_millisecond(), ends.strftime("%H:%M:%S UTC"));
    let begun = v.plan.parents().any(|s| v.asked(s) >= Some(Level::Flipped));
    if begun || left <= 0 || (seen.behind == 0 && seen.error.is_none()) {
        return None;
    }
    let message = match &seen.error {
        Some(error) => format!("which maps the applications' clients use isn't known: {error}; keys move at {until} at the latest"),
        None => format!(
            "{} of {} clients still use a map without the new shards: {}; keys move at {until} at the latest",
            seen.behind, seen.known, seen.names.join(", ")
        ),
    };
    Some(Said::wait(Reason::AwaitingClients, message).again(left))
}

/// After the window, with clean binary logs, and no standby missing anywhere: all shards together.
pub(super) fn dissolve(v: &View) -> Option<Said> {
    if v.aim() < Some(Phase::Dissolved) {
        return None;
    }
    let s = v.first_below(Phase::Dissolved)?;
    let open: Vec<u32> = v.plan.parents().filter(|s| v.asked(*s) < Some(Level::Dissolved) && v.reached(*s) < Some(Phase::Dissolved)).collect();
    if open.is_empty() {
        return Some(waits(v, s, Reason::Dissolving, format!("shard {s}: links are taken away")));
    }
    let begun = v.past(); // half a way back is none: what was begun goes on at once
    let Some(ends) = v.window_ends() else {
        return Some(Said::wait(Reason::ReverseWindow, "the reverse window begins"));
    };
    let left = ends.as_millisecond() - v.now.as_millisecond();
    if left > 0 && !begun {
        let until = ends.strftime("%Y-%m-%dT%H:%M:%SZ");
        return Some(Said::wait(Reason::ReverseWindow, format!("lowering spec.until moves the keys back without copying, until {until}")).again(left));
    }
    if let Some(s) = open.iter().copied().find(|s| !begun && v.seen.audits.get(s).and_then(|a| a.until).is_none_or(|until| until < ends)) {
        let error = v.seen.audits.get(&s).and_then(|a| a.error.clone()).map(|e| format!(": {e}")).unwrap_or_default();
        return Some(Said::wait(Reason::Auditing, format!("shard {s}: binary logs are read for misrouted rows{error}")));
    }
    if let Some(why) = v.plan.parents().find_map(|s| v.unwell(s).or_else(|| v.unwell(v.plan.child(s)))) {
        return Some(Said::wait(Reason::Degraded, format!("links are dissolved when every pair is in Sync and at rest; {why}")));
    }
    let steps = open.into_iter().map(|parent| Step::Ask { parent, until: Level::Dissolved }).collect();
    Some(Said::go(Reason::Dissolving, "links between old and new pairs are taken away: there is no way back from here", steps))
}

/// What the audit found stops everything but the way back.
pub(super) fn misrouted(v: &View) -> Option<Said> {
    if v.past() {
        return None;
    }
    let again = "lower spec.until to Prepared (both sides hold the rows) and raise it again";
    v.plan.parents().filter(|s| v.is_flipped(*s)).find_map(|s| {
        let audit = v.seen.audits.get(&s)?;
        if audit.misrouted > 0 {
            let example = audit.example.as_ref().map(|e| format!(", such as {e}")).unwrap_or_default();
            let rows = audit.misrouted;
            let message = format!("shard {s}: {rows} row(s) were written on the wrong side since the flip{example}: find the account that the guards exempt, then {again}");
            return Some(Said::wait(Reason::Misrouted, message));
        }
        if let Some(first) = audit.ddl.first() {
            let more = if audit.ddl.len() > 1 { format!(" (and {} more)", audit.ddl.len() - 1) } else { String::new() };
            let message = format!("shard {s}: tables were changed since the flip: {first}{more}: find the account that may do so, compare the table on both sides, then {again}");
            return Some(Said::wait(Reason::SchemaChanged, message));
        }
        let blind = audit.blind.as_ref()?;
        Some(Said::wait(Reason::AuditBlind, format!("shard {s}: {blind}: nobody can tell that no row was misrouted; keep binary logs for longer than the reverse window, then {again}")))
    })
}

/// One shard after the other, while both channels are proven gone and nobody is without a standby.
pub(super) fn purge(v: &View) -> Option<Said> {
    if v.aim() < Some(Phase::Complete) {
        return None;
    }
    let s = v.first_below(Phase::Complete)?;
    let child = v.plan.child(s);
    // The child first: as long as the parent says Purged, it is known that nothing foreign is left.
    let left: Vec<Step> = [child, s].into_iter().filter(|shard| v.asked(*shard).is_some()).map(Step::Unask).collect();
    if v.asked(s) == Some(Level::Purged) || v.asked(s).is_none() && !left.is_empty() {
        return Some(Said::go(Reason::CleaningUp, format!("shards {s} and {child} go on as ordinary pairs"), left));
    }
    if v.asked(s).is_none() {
        return Some(waits(v, s, Reason::CleaningUp, format!("guards of shards {s} and {child} are taken away")));
    }
    let purge = v.seen.purges.get(&s).cloned().unwrap_or_default();
    if purge.verified {
        return Some(Said::go(Reason::CleaningUp, format!("shards {s} and {child} hold only what is theirs"), vec![Step::Ask { parent: s, until: Level::Purged }]));
    }
    if !v.pair(s).is_some_and(|p| p.parted) || !v.pair(child).is_some_and(|p| p.parted) {
        return Some(waits(v, s, Reason::Purging, format!("shard {s}: nothing is deleted before both links are proven gone")));
    }
    if let Some(why) = v.unwell(s).or_else(|| v.unwell(child)) {
        return Some(Said::wait(Reason::Degraded, format!("shard {s} is purged while both pairs are in Sync and at rest; {why}")));
    }
    let error = purge.error.map(|e| format!("; tried again after: {e}")).unwrap_or_default();
    Some(Said::wait(Reason::Purging, format!("shard {s}: {} of about {} rows looked at, {} deleted{error}", purge.scanned, purge.estimated, purge.deleted)).work(Work::Purge(s)))
}
