//! Decisions, records and members in words, with one letter for a server_uuid.

use std::fmt::Write;

use shardpair::mysql::gtid::GtidSet;
use shardpair::pair::facts::{Contact, ReceiverState};
use shardpair::pair::record::Record;
use shardpair::pair::step::{Decision, Step};

use super::world::World;

/// Letters for uuids, everywhere in a text.
pub fn short(text: &str) -> String {
    let mut text = text.replace(",\n", ",");
    for letter in 'a'..='f' {
        text = text.replace(&super::world::uuid_of(letter), &letter.to_ascii_uppercase().to_string());
    }
    text
}

pub fn set(set: &GtidSet) -> String {
    if set.is_empty() { "nothing".into() } else { short(&format!("{set:#}")) }
}

/// `number` of the pass; None: not carried out.
pub fn decision(number: Option<usize>, before: &Record, decision: &Decision) -> String {
    let mut text = String::new();
    let number = number.map(|n| format!("{n}. ")).unwrap_or_default();
    let _ = writeln!(text, "{number}{}: {}", decision.note.reason.as_str(), short(&decision.note.message));
    let mut current = before.clone();
    for step in &decision.steps {
        let _ = writeln!(text, "     {}", short(&self::step(&mut current, step)));
    }
    for note in &decision.beside {
        let _ = writeln!(text, "     also {}: {}", note.reason.as_str(), short(&note.message));
    }
    text
}

fn step(current: &mut Record, step: &Step) -> String {
    match step {
        Step::WriteRecord(record) => {
            let text = format!("record {}", changes(current, record));
            *current = (**record).clone();
            text
        }
        Step::StopReceiver { member } => format!("stop receiver of {member}"),
        Step::StartApplier { member } => format!("start applier of {member}"),
        Step::OpenPrimary { member, ack, linked } => format!("open {member} as primary, acks {}{}", if *ack { "required" } else { "off" }, if *linked { ", linked" } else { "" }),
        Step::RequireAcks { member } => format!("require acks on {member}"),
        Step::RelaxAcks { member } => format!("relax acks on {member}"),
        Step::ProveSync { primary, standby } => format!("prove that {standby} holds all of {primary}"),
        Step::CloseStandby { member } => format!("close {member} as standby"),
        Step::Attach { member, source, acker } => format!("attach {member} to {source}{}", if *acker { " as its acker" } else { ", idly" }),
        Step::PointVip { member } => format!("point the VIP at {member}"),
        Step::KillProcess { member, pod_uid } => format!("kill {member} ({pod_uid})"),
        Step::ShutDown { member } => format!("shut {member} down"),
        Step::SaveTail { member, tail } => format!("save {} of {member}", set(tail)),
        Step::Rewind { member, tail, .. } => format!("undo {} on {member}", set(tail)),
        Step::CompareRows { member, primary, .. } => format!("compare the rows of {member} with those of {primary}"),
        Step::PlaceMarker { member } => format!("mark {member}"),
        Step::Clone { member, donor } => format!("clone {donor} to {member}"),
        Step::SwitchOver { from, to, record } => format!("switch over {from} -> {to}, record {}", changes(current, record)),
        Step::Provision { member } => format!("provision {member}"),
        Step::ApplySettings { member, .. } => format!("apply settings on {member}"),
        Step::EnableEvents { member } => format!("enable events on {member}"),
        Step::SetMembers { members } => format!("set members {}", members.join(", ")),
        Step::Guard { member, owned, ddl, unsharded, .. } => {
            let owned: Vec<&str> = owned.iter().map(|c| if *c == super::split::STAYS { "staying" } else { "moving" }).collect();
            let more = match (ddl, unsharded) {
                (false, false) => ", no DDL, no other tables",
                (false, true) => ", no DDL",
                _ => "",
            };
            format!("guard {member}: {} keys{more}", if owned.is_empty() { "no".to_owned() } else { owned.join(" and ") })
        }
        Step::RetireSessions { member, at_once } => format!("end old sessions of {member}{}", if *at_once { ", all at once" } else { "" }),
        Step::RemoveGuard { member } => format!("remove the guard of {member}"),
        Step::CloseFollower { member } => format!("close {member} as follower"),
        Step::DropRelayLog { member, left } => format!("forget the channel of {member}{}", if left.is_empty() { String::new() } else { format!(", and {}", set(left)) }),
        Step::Detach { member, drain } => format!("detach {member}{}", if *drain { ", drained" } else { "" }),
        Step::Cede { primary, to, acker, record, .. } => format!("cede {primary} -> {to} (acker {}), record {}", acker.as_deref().unwrap_or("none"), changes(current, record)),
        Step::GiveBack { primary, to, patience_ms, record } => format!("give back {primary} -> {to} within {patience_ms} ms, record {}", changes(current, record)),
        Step::ClearRequest { annotation } => format!("clear request {}", annotation.trim_start_matches("shardpair.io/")),
    }
}

/// What a write changes.
fn changes(old: &Record, new: &Record) -> String {
    let mut parts = vec![format!("{}->{}:", old.epoch, new.epoch)];
    if old.primary != new.primary || old.standby != new.standby {
        parts.push(format!("primary {}, standby {}", new.primary, new.standby.as_deref().unwrap_or("none")));
    }
    if old.mode != new.mode || old.epoch == 0 {
        parts.push(format!("{:?}", new.mode));
    }
    if old.standby_boot != new.standby_boot {
        parts.push(format!("boot {}", new.standby_boot.as_deref().unwrap_or("forgotten")));
    }
    if old.transition != new.transition {
        parts.push(new.transition.as_ref().map_or("no transition".into(), |t| format!("transition {:?} to {} ({})", t.kind, t.to, t.reason)));
    }
    if old.deposed != new.deposed {
        parts.push(new.deposed.as_ref().map_or("nobody deposed".into(), |d| format!("deposed {} (process {})", d.member, d.process.as_deref().unwrap_or("unknown"))));
    }
    if old.rebuild != new.rebuild {
        parts.push(new.rebuild.as_ref().map_or("rebuild done".into(), |r| format!("rebuild {} {:?} ({})", r.member, r.phase, r.reason)));
    }
    if old.rewind != new.rewind {
        parts.push(new.rewind.as_ref().map_or("rewind done".into(), |r| format!("rewind {} {:?} (mark {})", r.member, r.phase, r.mark)));
    }
    if old.abandoned != new.abandoned {
        let names: Vec<&str> = new.abandoned.iter().map(|a| a.member.as_str()).collect();
        parts.push(format!("abandoned [{}]", names.join(", ")));
    }
    if old.members != new.members && old.epoch > 0 {
        let names: Vec<String> = new.members.iter().map(|m| if m.volume.is_empty() || m.server_uuid.is_empty() { format!("{} (unknown)", m.name) } else { format!("{} ({})", m.name, m.volume) }).collect();
        parts.push(format!("members {}", names.join(", ")));
    }
    let (was, is) = (of_split(old), of_split(new));
    if was != is {
        parts.push(if is.is_empty() { "nothing of a split".into() } else { is.trim_start_matches(", ").to_owned() });
    }
    parts.join(" ")
}

/// What a record says of a split.
pub fn of_split(r: &Record) -> String {
    let mut text = String::new();
    if let Some(f) = &r.follows {
        let _ = write!(text, ", follows {}", f.pair);
        if let Some(epoch) = f.given_back {
            let _ = write!(text, " (gave back {epoch})");
        }
    }
    if let Some(c) = &r.ceded {
        let _ = write!(text, ", ceded to {} at {}", c.pair, c.epoch);
    }
    if let Some(l) = &r.linked {
        let _ = write!(text, ", linked to {}", l.pair);
    }
    if let Some(s) = &r.severed {
        let _ = write!(text, ", severed ({:?}{})", s.reason, if s.proven { ", proven" } else { "" });
    }
    if let Some(f) = &r.flip {
        let _ = write!(text, ", {} tries undone{}", f.given_up, if f.begun_at.is_some() { ", one begun" } else { "" });
    }
    text
}

/// The record, and each member in a line.
pub fn state(world: &World) -> String {
    let r = &world.record;
    let mut text = format!("= epoch {}: {} {:?}, standby {}", r.epoch, r.primary, r.mode, r.standby.as_deref().unwrap_or("none"));
    text.push_str(&of_split(r));
    if let Some(t) = &r.transition {
        let _ = write!(text, ", {:?} to {} under way", t.kind, t.to);
    }
    if let Some(d) = &r.deposed {
        let _ = write!(text, ", deposed {}", d.member);
    }
    if let Some(b) = &r.rebuild {
        let _ = write!(text, ", rebuilding {} ({:?})", b.member, b.phase);
    }
    if let Some(w) = &r.rewind {
        let _ = write!(text, ", rewinding {} ({:?})", w.member, w.phase);
    }
    for a in &r.abandoned {
        let _ = write!(text, ", abandoned {}", a.member);
    }
    text.push('\n');
    for (name, member) in &world.seen.members {
        let _ = writeln!(text, "  {}", short(&self::member(world, name, member)));
    }
    text
}

fn member(world: &World, name: &str, member: &shardpair::pair::facts::Member) -> String {
    let Some(body) = world.bodies.get(name) else { return format!("{name} has no pod") };
    let ip = member.pod.as_ref().and_then(|p| p.ip.as_deref());
    let vip = if ip.is_some() && ip == world.seen.vip.points_to.as_deref() { ", behind the VIP" } else { "" };
    if !body.alive {
        return format!("{name} dead{vip}");
    }
    let f = &body.facts;
    let mut text = format!("{name} {}{vip}, has {}", if f.super_read_only { "closed" } else { "open" }, set(&f.executed));
    if body.hung || member.contact != Contact::Answering {
        text.push_str(", doesn't answer");
    }
    if f.source.enabled {
        let _ = write!(text, ", waits for acks ({} acker{})", f.source.clients, if f.source.clients == 1 { "" } else { "s" });
    }
    if !body.pending.is_empty() {
        let _ = write!(text, ", {} waits", set(&body.pending));
    }
    if let Some(c) = f.channel.as_ref().filter(|c| c.receiver != ReceiverState::Off) {
        let how = if c.receiver == ReceiverState::On { "follows" } else { "connects to" };
        let _ = write!(text, ", {how} {}{}", c.source_host.trim_start_matches("svc-"), if f.replica_enabled { " as acker" } else { "" });
    }
    if let Some(g) = &f.guard {
        let classes: String = g.owned.iter().map(|c| if *c == super::split::STAYS { 's' } else { 'm' }).collect();
        let _ = write!(text, ", guard [{classes}]");
        if g.ddl_revoked && g.old_sessions != Some(0) {
            text.push_str(", old sessions");
        }
    }
    if f.rebuild_marker {
        text.push_str(", marked");
    }
    text
}
