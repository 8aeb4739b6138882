//! The ways back: keys to their old pair, then everything that was made.

use super::view::View;
use super::{GRACE_MS, Said};
use crate::api::expansion::Phase;
use crate::expansion::facts::Level;
use crate::expansion::step::{Reason, Step};

/// Shards that flipped, or are about to, go back, the last one first.
pub(super) fn unflip(v: &View) -> Option<Said> {
    if v.aim() >= Some(Phase::Flipped) {
        return None;
    }
    v.plan.parents().rev().find_map(|s| {
        let (parent, asked) = (v.pair(s)?, v.asked(s)?);
        // The parent is asked first: the child's part of it may have failed.
        if asked > Level::Prepared || v.asked(v.plan.child(s)) > Some(Level::Prepared) {
            return Some(Said::go(Reason::RollingBack, format!("shard {s} takes its keys back"), vec![Step::Ask { parent: s, until: Level::Prepared }]));
        }
        let child = v.made(s)?;
        let back = !parent.ceded && (child.follows || !child.provisioned);
        (!back).then(|| {
            let says = parent.says.as_ref().or(child.says.as_ref()).map(|t| format!(": {t}")).unwrap_or_default();
            Said::wait(Reason::RollingBack, format!("shard {s} takes its keys back{says}"))
        })
    })
}

/// The map without the new shards, time for clients to read it, then the new pairs go.
pub(super) fn undo(v: &View) -> Option<Said> {
    if v.aim() >= Some(Phase::Prepared) || !v.in_flight() {
        return None;
    }
    if v.announced() {
        return Some(Said::go(Reason::RollingBack, "the map goes back to the old shards", vec![Step::Announce(v.plan.to_shards / 2)]));
    }
    let since = v.plan.announced_at.map(|at| v.now.as_millisecond() - at.as_millisecond());
    if let Some(left) = since.map(|ms| GRACE_MS - ms).filter(|left| *left > 0 && *left <= GRACE_MS) {
        return Some(Said::wait(Reason::Grace, "clients get the time to read the map, before the VIPs of the new shards go").again(left));
    }
    v.plan.parents().rev().find_map(|s| {
        if v.asked(s).is_some() {
            return Some(Said::go(Reason::RollingBack, format!("shard {s} goes on as before"), vec![Step::Unask(s)]));
        }
        let child = v.made(s)?;
        // Asked for again with the version that was read: only a pair that owns no key is ever deleted.
        let message = format!("the pair of shard {} is removed; its volumes stay", v.plan.child(s));
        Some(match child.follows || !child.provisioned {
            true => Said::go(Reason::RollingBack, message, vec![Step::DropPair(v.plan.child(s))]),
            false => Said::wait(Reason::RollingBack, format!("the pair of shard {} still owns keys", v.plan.child(s))),
        })
    })
}
