//! `explain PAIR`: what it does now, every move with its verdict, reason and remedy. Pure but for [`run`].
//!
//! It computes from the object's status alone, which says what the operator last decided; the operator itself asks again,
//! with fresh facts, before it moves anything.

use kube::ResourceExt;
use serde::Serialize;

use super::cli::Cli;
use super::paint::{Paint, drawn};
use super::seen::{Seen, age};
use super::trouble::Trouble;
use super::view::{PairLine, class_of};
use super::{Output, find};
use crate::api::ShardPair;
use crate::api::conditions::{self, AVAILABLE, REDUNDANT};
use crate::pair::guide::{self, Class};
use crate::pair::record::Mode;
use crate::pair::step::Reason;

/// See the module.
#[derive(Clone, Debug, clap::Args)]
pub struct Explain {
    /// The pair: its name, or its shard's number.
    pair: String,
}

/// One move: may it be made?
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Move {
    /// `failover`, `switchover`, …
    pub name: &'static str,
    /// May it be made, as far as the status tells?
    pub possible: bool,
    /// One word; absent: possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What happens, or what is in the way.
    pub message: String,
    /// What to do about a refusal, or how to ask.
    pub remedy: String,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberLine {
    /// Its name.
    pub name: String,
    /// primary, standby, or none.
    pub role: &'static str,
    /// Where it was seen last.
    pub node: Option<String>,
    /// What is special about it.
    pub notes: Vec<String>,
}

impl Move {
    /// The refusal in one line: what is in the way, then what to do.
    pub fn against(&self) -> String {
        format!("{}. {}", self.message.trim_end_matches('.'), self.remedy)
    }
}

/// Everything about a pair.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Its line of `status`.
    pub pair: PairLine,
    /// Its members.
    pub members: Vec<MemberLine>,
    /// What the reason means.
    pub meaning: String,
    /// What to do about it.
    pub remedy: String,
    /// All moves.
    pub moves: Vec<Move>,
}

/// Carries it out.
pub async fn run(cli: &Cli, args: &Explain) -> Result<(), Trouble> {
    let seen = cli.look().await?;
    let pair = find::pair(&seen, &args.pair)?;
    let told = explain(&seen, pair);
    match cli.output {
        Some(Output::Json | Output::Yaml) => cli.print(&told),
        _ => {
            cli.show(false, &text(&seen, &told, cli.paint()));
            Ok(())
        }
    }
}

/// The whole of it.
pub fn explain(seen: &Seen, pair: &ShardPair) -> Explanation {
    let line = PairLine::of(seen, pair);
    let reason = guide::reason(&line.reason);
    let (meaning, remedy) = match (line.reason.as_str(), reason) {
        ("OperatorAway", _) => ("Nobody looks after the pair: it goes on as it is, and nothing fails over.", "Start the operator again."),
        (_, Some(reason)) => (reason.meaning(), guide::guide(reason).1),
        _ => ("The last change is being taken in.", "Nothing."),
    };
    Explanation { members: members(pair), meaning: meaning.to_owned(), remedy: remedy.to_owned(), moves: moves(seen, pair), pair: line }
}

fn members(pair: &ShardPair) -> Vec<MemberLine> {
    let status = pair.status.clone().unwrap_or_default();
    let record = &status.record;
    let mut names: Vec<String> = record.members.iter().map(|m| m.name.clone()).chain(pair.spec.members.clone()).collect();
    let mut known = std::collections::BTreeSet::new();
    names.retain(|n| known.insert(n.clone()));
    let line = |name: String| {
        let mut notes = Vec::new();
        if let Some(d) = record.deposed.as_ref().filter(|d| d.member == name) {
            notes.push(format!("deposed at epoch {}: its tail is looked at before it has a role", d.epoch));
        }
        if let Some(r) = record.rebuild.as_ref().filter(|r| r.member == name) {
            notes.push(format!("being rebuilt ({:?}): {}", r.phase, r.reason));
        }
        if let Some(r) = record.rewind.as_ref().filter(|r| r.member == name) {
            notes.push(format!("its tail {} is being undone ({:?})", r.tail, r.phase));
        }
        if let Some(a) = record.abandoned.iter().find(|a| a.member == name) {
            notes.push(format!("holds acknowledged writes that were given up at epoch {}", a.epoch));
        }
        let member = record.member(&name);
        if let Some(settings) = member.and_then(|m| m.settings.as_ref()) {
            if !settings.refused.is_empty() {
                notes.push(format!("MySQL refuses {}", settings.refused.join(", ")));
            }
            if !settings.restart_for.is_empty() {
                notes.push(format!("needs a restart for {}", settings.restart_for.join(", ")));
            }
        }
        let role = if record.primary == name { "primary" } else if record.standby.as_deref() == Some(&name) { "standby" } else { "none" };
        MemberLine { role, node: member.and_then(|m| m.node.clone()), notes, name }
    };
    names.into_iter().map(line).collect()
}

/// Every move that can be thought of, with what speaks against it.
pub fn moves(seen: &Seen, pair: &ShardPair) -> Vec<Move> {
    let line = PairLine::of(seen, pair);
    let away = (line.reason == "OperatorAway").then(|| refusal("OperatorAway", line.waits_for.clone(), "Start the operator again."));
    let paused = line.paused.then(|| of(Reason::Paused, "nothing is changed until it is lifted"));
    let hands = away.or(paused);
    let standby = line.standby.clone().unwrap_or_default();
    let name = pair.name_any();
    let judge = |verb: &'static str, against: Option<Move>, message: String, ask: String| match hands.clone().or(against) {
        Some(refused) => Move { name: verb, ..refused },
        None => Move { name: verb, possible: true, reason: None, message, remedy: ask },
    };
    let copy = uncovered(pair, &line);
    vec![
        judge("failover", copy.clone(), format!("{standby} takes over by itself when {} is gone; nothing acknowledged is lost", line.primary), "Nothing to ask.".to_owned()),
        judge("switchover", copy.or_else(|| closed(pair, &line)), format!("{standby} becomes primary, some 100 ms without writes"), format!("kubectl shardpair switchover {name}")),
        judge("promote", no_promotion(pair, &line), loss(seen, pair), format!("kubectl shardpair promote {name} --accept-data-loss")),
        judge("rebuild", no_copy(pair, &line), format!("{standby} gets a new copy of all data of {}", line.primary), format!("kubectl shardpair rebuild {name}")),
        judge("replace", no_copy(pair, &line), format!("a new member takes the place of {standby}, whose volume is kept"), format!("kubectl shardpair replace {name}")),
    ]
}

fn refusal(reason: &str, message: impl Into<String>, remedy: &str) -> Move {
    Move { name: "", possible: false, reason: Some(reason.to_owned()), message: message.into(), remedy: remedy.to_owned() }
}

fn of(reason: Reason, message: impl Into<String>) -> Move {
    refusal(reason.as_str(), message, guide::guide(reason).1)
}

/// What a condition that isn't True says.
fn said(pair: &ShardPair, type_: &str, otherwise: Reason) -> Move {
    let conditions = pair.status.iter().flat_map(|s| s.conditions.clone()).collect::<Vec<_>>();
    match conditions::find(&conditions, type_) {
        Some(c) => {
            let remedy = guide::reason(&c.reason).map_or("Wait a moment and look again.", |r| guide::guide(r).1);
            let meaning = guide::reason(&c.reason).map_or("the last change is being taken in", Reason::meaning);
            refusal(&c.reason, if c.message.is_empty() { meaning } else { &c.message }, remedy)
        }
        None => of(otherwise, otherwise.meaning()),
    }
}

/// Why the standby may not take over.
fn uncovered(pair: &ShardPair, line: &PairLine) -> Option<Move> {
    if line.mode.is_none() {
        return Some(of(Reason::Provisioning, "the pair has no roles yet"));
    }
    if line.standby.is_none() {
        return Some(of(Reason::NoStandby, "the pair has no standby"));
    }
    under_way(line).or_else(|| (!line.redundant).then(|| said(pair, REDUNDANT, Reason::NotInSync)))
}

fn under_way(line: &PairLine) -> Option<Move> {
    let moving = line.moving.as_ref()?;
    Some(refusal("UnderWay", format!("{moving} is under way"), "Wait for its end."))
}

/// Why the primary can't hand over.
fn closed(pair: &ShardPair, line: &PairLine) -> Option<Move> {
    if line.moving.is_some() {
        return under_way(line);
    }
    (!line.available).then(|| said(pair, AVAILABLE, Reason::AwaitingEvidence))
}

/// A promotion that may lose writes is for when nothing else is left.
fn no_promotion(pair: &ShardPair, line: &PairLine) -> Option<Move> {
    let name = &line.name;
    if line.mode.is_none() || line.standby.is_none() {
        return uncovered(pair, line);
    }
    if line.available {
        let remedy = if line.redundant { format!("kubectl shardpair switchover {name}: it loses nothing.") } else { "Bring the standby back; then a switchover loses nothing.".to_owned() };
        return Some(refusal("SafeMoveExists", format!("{} is there and open", line.primary), &remedy));
    }
    // A failover that can't go on says so by its reason; one that goes on is waited for.
    if line.moving.is_some() && line.weight() < Class::Refusal {
        return under_way(line);
    }
    if line.redundant {
        return Some(refusal("SafeMoveExists", "the standby holds everything and takes over by itself", "Wait for the failover."));
    }
    let rebuilt = pair.status.as_ref().and_then(|s| s.record.rebuild.as_ref()).filter(|r| Some(&r.member) == line.standby.as_ref());
    rebuilt.map(|r| of(Reason::Rebuilding, format!("{} is being rebuilt: its data isn't whole", r.member)))
}

/// A copy needs an open primary to copy from, and a standby to copy to.
fn no_copy(pair: &ShardPair, line: &PairLine) -> Option<Move> {
    if line.mode.is_none() || line.standby.is_none() {
        return uncovered(pair, line);
    }
    closed(pair, line)
}

/// What a promotion with data loss may lose, as far as the record tells.
pub fn loss(seen: &Seen, pair: &ShardPair) -> String {
    let status = pair.status.clone().unwrap_or_default();
    let record = &status.record;
    let standby = record.standby.clone().unwrap_or_default();
    let since = conditions::find(&status.conditions, REDUNDANT).filter(|c| c.status != "True").map(|c| c.last_transition_time.0);
    let when = since.map_or_else(String::new, |at| format!(" since {at} ({} ago)", age(seen.now.as_second() - at.as_second())));
    match record.mode {
        Mode::Solo => format!("every write that {} acknowledged{when} and that {standby} had not received is lost", record.primary),
        Mode::Sync => format!("{standby} may lack writes that {} acknowledged: {}", record.primary, said(pair, REDUNDANT, Reason::NotInSync).message),
    }
}

/// For a person.
pub fn text(seen: &Seen, told: &Explanation, paint: Paint) -> String {
    let p = &told.pair;
    let class = p.weight();
    let since = p.since.map_or_else(String::new, |at| format!(", for {}", age(seen.now.as_second() - at.as_second())));
    let mode = p.mode.map_or_else(|| "not provisioned".to_owned(), |m| format!("{m:?}, epoch {}", p.epoch));
    let mut text = format!("{}: {mode}; {}{since}\n", p.name, paint.text(class, &p.reason));
    text += &format!("  means   {}\n", told.meaning);
    if !p.waits_for.is_empty() {
        text += &format!("  now     {}\n", p.waits_for);
    }
    text += &format!("  do      {}\n", told.remedy);
    for request in &p.requests {
        text += &format!("  asked   {request}, not done yet\n");
    }
    if let Some(m) = &p.last_move {
        text += &format!("  last    {:?} from {} to {} {} ago, {:.3} s without writes ({})\n", m.kind, m.from, m.to, age(seen.now.as_second() - m.at.as_second()), m.seconds, m.reason);
    }
    text += "\nMEMBERS\n";
    let member = |m: &MemberLine| vec![m.name.clone().into(), m.role.into(), m.node.clone().unwrap_or_else(|| "-".to_owned()).into(), m.notes.join("; ").into()];
    text += &paint.table(&[], told.members.iter().map(member).collect());
    text += "\nMOVES\n";
    let verdict = |m: &Move| {
        let class = if m.possible { Class::Rest } else { m.reason.as_deref().map_or(Class::Refusal, |r| class_of(r).max(Class::Wait)) };
        let word = m.reason.as_ref().map_or_else(|| "possible".to_owned(), |r| format!("refused: {r}"));
        [vec![m.name.into(), drawn(class, word), m.message.clone().into()], vec!["".into(), "".into(), format!("-> {}", m.remedy).into()]]
    };
    text += &paint.table(&[], told.moves.iter().flat_map(verdict).collect());
    text
}
