//! The child before the flip: its primary X is read-only and replicates from the parent's primary, not as its acker; its
//! standby Y follows X and is X's acker. Nobody's write depends on either, so whatever goes wrong is made anew. Pure.

use super::{drains_its_acker, guards, retiring, runs_from};
use crate::api::expansion::Standbys;
use crate::api::pair::SplitRole;
use crate::mysql::gtid::GtidSet;
use crate::pair::decide::{FRESH_MS, Identity, View, acts, beneath, identity, known, open, request, returning, standby, upkeep};
use crate::pair::facts::{Facts, Member, ReceiverState};
use crate::pair::record::{self, Follows, Mode, Rebuild, RebuildPhase, Record};
use crate::pair::settings::Durability;
use crate::pair::split::SplitUntil;
use crate::pair::step::{Decision, Reason, Step};

/// The offset of the side that `offset` isn't.
fn other_side(offset: Option<u16>) -> u16 {
    if offset.unwrap_or(1) == 1 { 2 } else { 1 }
}

/// A child's first record: its members are cloned, or (`standbys: After`) its only one is the parent's former standby.
pub(super) fn bootstrap(view: &View) -> Option<Decision> {
    let split = view.split().filter(|s| s.role == SplitRole::Child)?;
    let Some(parent) = view.other() else {
        return Some(Decision::wait(Reason::AwaitingParent, format!("{} isn't there yet", split.other)));
    };
    let Some(primary) = view.settings.members.first() else {
        return Some(Decision::wait(Reason::Provisioning, "the pair's spec names no member"));
    };
    let mut record = Record { epoch: 1, primary: primary.clone(), mode: Mode::Solo, ..Record::default() };
    record.standby = view.settings.members.get(1).cloned();
    record.offset = Some(other_side(parent.record.offset));
    record.follows = Some(Follows { pair: parent.name.clone(), given_back: None });
    match split.standbys {
        Standbys::Before => {
            let reason = Reason::Following.as_str().to_owned();
            record.rebuild = Some(Rebuild { member: primary.clone(), phase: RebuildPhase::Marking, reason });
            for name in std::iter::once(primary).chain(&record.standby.clone()) {
                record.member_mut(name);
            }
        }
        Standbys::After => {
            let known = parent.record.members.iter().any(|m| m.name == *primary);
            let ready = view.seen.members.get(primary).and_then(|m| Some((m, m.answer()?, m.volume.clone()?)));
            let Some((member, facts, volume)) = ready.filter(|(m, f, _)| !known && m.facts_age_ms <= FRESH_MS && f.super_read_only) else {
                return Some(Decision::wait(Reason::AwaitingParent, format!("{} gives {primary} away first", parent.name)));
            };
            *record.member_mut(primary) = record::Member {
                name: primary.clone(),
                volume,
                server_uuid: facts.server_uuid.clone(),
                node: member.pod.as_ref().and_then(|p| p.node.clone()),
                ..record::Member::default()
            };
        }
    }
    let message = format!("{primary} will follow {}", parent.name);
    Some(Decision::act(vec![Step::WriteRecord(Box::new(record))], Reason::Provisioning, message))
}

/// A whole pass.
pub(super) fn decide(view: &View) -> Decision {
    if let Some(write) = newer_epoch(view) {
        return write;
    }
    if view.other().is_none() {
        let pair = view.record.follows.as_ref().map_or("", |f| f.pair.as_str());
        return Decision::wait(Reason::AwaitingParent, format!("{pair} isn't known here"));
    }
    let role = role(view).or_else(|| vip(view));
    let rebuilding = view.record.rebuild.as_ref().is_some_and(|r| r.member == view.record.primary);
    let standby = if rebuilding { None } else { standby::decide(view) };
    let in_turn = if held_open(view) { [&standby, &role] } else { [&role, &standby] };
    if let Some(first) = in_turn.into_iter().flatten().find(|decision| acts(decision)) {
        return first.clone();
    }
    let wait = role.or(standby);
    match request::while_following(view).or_else(|| guards(view)).or_else(|| retiring(view)).or_else(|| upkeep::of_the_spec(view)).or_else(|| upkeep::settings(view)) {
        Some(small) => beneath(small, wait),
        None => wait.unwrap_or_else(|| rest(view)),
    }
}

/// X was opened for its guard (`read_only` stays, and binds clients), and closing it hangs behind what its applier committed: that
/// waits for Y, so Y comes first.
fn held_open(view: &View) -> bool {
    view.primary_answer().is_some_and(|x| !x.super_read_only && x.source.waiting > 0)
}

/// While it follows, its epoch has no authority yet: what its members have seen counts (a child of an earlier plan).
fn newer_epoch(view: &View) -> Option<Decision> {
    let names = std::iter::once(&view.record.primary).chain(&view.record.standby);
    let seen = names.filter_map(|n| view.answer(n)?.epoch).max().filter(|epoch| *epoch > view.record.epoch)?;
    let record = Record { epoch: seen, ..view.record.clone() };
    Some(Decision::act(vec![Step::WriteRecord(Box::new(record))], Reason::Following, "epochs go on from what the members have seen"))
}

fn rest(view: &View) -> Decision {
    let parent = view.record.follows.as_ref().map_or("", |f| f.pair.as_str());
    Decision::wait(Reason::Following, format!("{} follows {parent} and owns no key yet", view.record.primary))
}

fn write(record: Record, reason: Reason, message: String) -> Decision {
    Decision::act(vec![Step::WriteRecord(Box::new(record))], reason, message)
}

/// X's own place.
fn role(view: &View) -> Option<Decision> {
    let name = &view.record.primary;
    let member = view.primary()?;
    match identity(view.record, member, name) {
        Identity::FirstSeen => return Some(known::first_seen(view, name, member)),
        Identity::OtherVolume | Identity::OtherServer => {
            let record = known::made_anew(view, name, Reason::VolumeLost);
            return Some(write(record, Reason::VolumeLost, format!("{name} is another than recorded: it is made anew")));
        }
        Identity::Match | Identity::Unknown => {}
    }
    if let Some(rebuild) = view.record.rebuild.as_ref().filter(|r| r.member == *name) {
        // What it applied may wait for a standby that is gone too, and no mark is set behind a commit that waits. It is nobody's write.
        if view.record.mode == Mode::Solo && view.primary_answer().is_some_and(|f| f.source.enabled) {
            let step = Step::RelaxAcks { member: name.clone() };
            return Some(Decision::act(vec![step], Reason::Rebuilding, format!("{name} waits for nobody: its data is replaced")));
        }
        return Some(returning::rebuilding(view, name, member, rebuild));
    }
    let Some(facts) = view.primary_answer() else {
        return Some(swap(view, member).unwrap_or_else(|| Decision::wait(Reason::Following, format!("{name} doesn't answer"))));
    };
    if !facts.super_read_only || facts.offline_mode || facts.events_on {
        let step = Step::CloseFollower { member: name.clone() };
        return Some(Decision::act(vec![step], Reason::Following, format!("{name} is read-only as long as it follows")));
    }
    if view.record.mode == Mode::Sync && !(facts.source.enabled && facts.source.on) && !drains_its_acker(view, facts) {
        let step = Step::RequireAcks { member: name.clone() };
        return Some(Decision::act(vec![step], Reason::Following, format!("{name} waits for its standby from here on")));
    }
    channel(view, name, facts).or_else(|| leaves(view, member))
}

/// Nobody writes on X, so Y may take its place at any time: nothing is promoted, nothing can be lost.
fn swap(view: &View, member: &Member) -> Option<Decision> {
    let (name, _) = view.standby()?;
    let there = view.standby_answer().is_some_and(|f| f.super_read_only) && view.record.rebuild.is_none();
    let away = member.away_ms() >= view.settings.solo_after_ms;
    if !there || !away {
        return None;
    }
    Some(swapped(view, name, format!("{} has been away for {} ms: {name} follows in its place", view.record.primary, member.away_ms())))
}

fn swapped(view: &View, to: &str, message: String) -> Decision {
    let mut record = standby::solo(view);
    record.standby = Some(std::mem::replace(&mut record.primary, to.to_owned()));
    write(record, Reason::Following, message)
}

/// Its node is being drained, or a person asks.
fn leaves(view: &View, member: &Member) -> Option<Decision> {
    let (name, other) = view.standby()?;
    let facts = view.standby_answer().filter(|f| standby::serving(view, f))?;
    let drained = member.pod.as_ref().is_some_and(|p| p.node_cordoned) && other.pod.as_ref().is_some_and(|p| !p.node_cordoned && !p.terminating);
    let ready = view.record.rebuild.is_none() && facts.executed.contains(&facts.holds());
    (drained && ready).then(|| swapped(view, name, format!("the node of {} is drained: {name} follows in its place", view.record.primary)))
}

/// Does X replicate from the parent's primary, and apply?
pub(super) fn runs(view: &View) -> bool {
    let ends = view.primary_answer().zip(view.other_primary());
    ends.is_some_and(|(x, (_, of, theirs))| runs_from(x.channel.as_ref(), of.address.as_deref(), &theirs.server_uuid))
}

/// X's channel: to the parent's primary, and nowhere else.
fn channel(view: &View, name: &str, facts: &Facts) -> Option<Decision> {
    let Some((source, of, theirs)) = view.other_primary() else {
        return Some(Decision::wait(Reason::AwaitingParent, "the parent's primary doesn't answer, or is being changed".to_owned()));
    };
    if runs_from(facts.channel.as_ref(), of.address.as_deref(), &theirs.server_uuid) {
        return None;
    }
    let error = facts.channel.as_ref().map_or("", |c| c.applier_error.as_str());
    if !error.is_empty() {
        let record = standby::rebuild(view, name, Reason::ApplierError);
        return Some(write(record, Reason::Rebuilding, format!("{name}: {error}; it owns nothing: it is cloned again")));
    }
    let there = facts.channel.as_ref().filter(|c| Some(c.source_host.as_str()) == of.address.as_deref());
    if let Some(c) = &facts.channel
        && there.is_none()
        && c.receiver != ReceiverState::Off
    {
        // Before anything is compared: what it follows was deposed, and may go on sending.
        let step = Step::StopReceiver { member: name.to_owned() };
        return Some(Decision::act(vec![step], Reason::Following, format!("{name} stops following another than {source}")));
    }
    if let Some(anew) = unusable(view, name, facts, (source, theirs)) {
        return Some(anew);
    }
    if let Some(c) = there
        && c.receiver == ReceiverState::Connecting
        && c.applier_running
    {
        return Some(Decision::soon(Reason::Following, format!("{name} connects to {source}")));
    }
    if let Some(c) = facts.channel.as_ref().filter(|c| there.is_none() && !facts.executed.contains(&c.received)) {
        let message = format!("{name} applies what it received, before it follows {source}");
        return Some(match c.applier_running {
            true => Decision::soon(Reason::Draining, message),
            false => Decision::act(vec![Step::StartApplier { member: name.to_owned() }], Reason::Draining, message),
        });
    }
    let step = Step::Attach { member: name.to_owned(), source: source.to_owned(), acker: false };
    Some(Decision::act(vec![step], Reason::Following, format!("{name} follows {source}")))
}

/// What X (or Y, through it) holds and the parent's recorded primary never had is the tail of a deposed one (invariant 9).
fn unusable(view: &View, name: &str, facts: &Facts, (source, theirs): (&str, &Facts)) -> Option<Decision> {
    let tail = beyond(facts, theirs);
    if !tail.is_empty() {
        let record = standby::rebuild(view, name, Reason::TailFound);
        return Some(write(record, Reason::TailFound, format!("{name} received {tail:#}, which {source} never had: it owns nothing, it is cloned again")));
    }
    if !facts.holds().contains(&theirs.purged) {
        let record = standby::rebuild(view, name, Reason::BinlogsPurged);
        return Some(write(record, Reason::BinlogsPurged, format!("{name} is too far behind: it is cloned")));
    }
    None
}

/// What `facts` holds and the (living, recorded) primary of the parent doesn't, but for that one's own: its commits that
/// wait for their acknowledgement don't show there yet.
pub(super) fn beyond(facts: &Facts, primary: &Facts) -> GtidSet {
    facts.holds().subtract(&primary.holds()).without_source(&primary.server_uuid)
}

/// The child's VIP leads to the parent's primary as long as the keys are there.
fn vip(view: &View) -> Option<Decision> {
    let (name, member, facts) = view.other_primary()?;
    let ip = member.pod.as_ref().and_then(|p| p.ip.as_deref());
    if ip.is_none() || view.seen.vip.points_to.as_deref() == ip || !open(facts) {
        return None;
    }
    let step = Step::PointVip { member: name.to_owned() };
    Some(Decision::act(vec![step], Reason::MovingVip, format!("the VIP leads to {name}, which has the keys")))
}

/// `standbys: After`, the parent's part: its standby becomes the child, as soon as that is there to take it.
pub(super) fn release(view: &View) -> Option<Decision> {
    let split = view.split().filter(|s| s.role == SplitRole::Parent && s.standbys == Standbys::After)?;
    let name = view.record.standby.clone()?;
    let other = view.seen.other.as_ref().filter(|o| o.name == split.other)?;
    let asked = !other.record.provisioned() && other.members.contains_key(&name);
    if !asked || view.record.ceded.is_some() {
        return None;
    }
    if view.settings.durability == Durability::Required {
        return Some(Decision::wait(Reason::ReleasingStandby, "durability Required: a pair is never without its standby; use standbys: Before"));
    }
    if view.record.mode != Mode::Sync {
        return Some(Decision::wait(Reason::ReleasingStandby, format!("{name} is given away from Sync only")));
    }
    let mut record = standby::solo(view);
    record.standby = None;
    record.members.retain(|m| m.name != name);
    let primary = view.record.primary.clone();
    let steps = vec![
        Step::WriteRecord(Box::new(record)),
        Step::RelaxAcks { member: primary.clone() },
        Step::StopReceiver { member: primary.clone() },
        Step::SetMembers { members: vec![primary] },
    ];
    Some(Decision::act(steps, Reason::ReleasingStandby, format!("{name} becomes {}: there is no standby until the flip", split.other)))
}

/// `standbys: After`: when the flip is done, each side gets a new standby; the child first, so that no name is taken twice. When the keys
/// came back before that, the parent gets one: what it gave away stays with the child.
pub(super) fn refill(view: &View) -> Option<Decision> {
    let split = view.split().filter(|s| s.standbys == Standbys::After)?;
    let (other, child) = (view.other()?, split.role == SplitRole::Child);
    let flipped = split.until >= SplitUntil::Flipped && (view.record.ceded.is_some() || child && view.record.follows.is_none());
    let back = !child && view.record.ceded.is_none() && other.record.follows.as_ref().is_some_and(|f| f.given_back.is_some());
    let turn = child || back || other.record.standby.is_some();
    if view.record.standby.is_some() || !(flipped || back) || !turn || !view.primary_answer().is_some_and(open) {
        return None;
    }
    let why = if back { "its standby was given away, and the keys came back" } else { "there is no standby since the flip" };
    Some(standby::replace(view, None, why.to_owned()))
}
