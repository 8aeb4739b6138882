//! What many states share, kept once: whole records, and decisions with the commands that carry them out.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::sync::{Arc, Mutex, RwLock};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use shardpair::pair::record::Record;
use shardpair::simulation::script::{Command, index};
use shardpair::simulation::server::Server;
use shardpair::simulation::set::Set;

use super::state::{Glimpse, Rec};

/// One member in an observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Look {
    Answers(Server, u32),
    Broken(Option<Glimpse>),
    Silent(Option<Glimpse>),
}

/// All that a decision follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub record: u16,
    pub patience: u8,
    pub looks: [Look; 2],
    pub linked: bool,
    pub pods: [u8; 2],
    /// Claims and nodes, which the API server tells of also when the member doesn't answer.
    pub volumes: [u8; 2],
    pub kernels: [u8; 2],
    pub origins: [u8; 6],
    pub writes: u8,
    pub asked: Option<u8>,
}

/// A decision, ready to be carried out.
#[derive(Debug)]
pub struct Carried {
    /// None: nothing to do.
    pub plan: Option<u16>,
    /// Reason and message.
    pub words: String,
    pub reason: &'static str,
    /// It breaks a law of `decisions::law`.
    pub lawless: bool,
}

/// The commands of a plan; each with the record it writes, if it does.
pub struct Commands {
    pub commands: Vec<Command>,
    pub written: Vec<Option<Rec>>,
}

#[derive(Default)]
pub struct Tables {
    records: RwLock<Vec<Arc<Record>>>,
    plans: RwLock<Vec<Arc<Commands>>>,
    spelled: Mutex<HashMap<String, u16>>,
    decided: [Shard; 32],
}

#[derive(Default)]
struct Shard(Mutex<HashMap<Key, Arc<Carried>, BuildHasherDefault<DefaultHasher>>>);

/// The one moment at which everything happens.
pub fn now() -> Timestamp {
    Timestamp::from_second(1_767_225_600).expect("a time")
}

/// Without what only grows: times are never compared in the model, epochs only to tell a few apart (the mark of a rewind).
fn canonical(mut record: Record) -> Record {
    record.epoch = 4 + record.epoch % 4;
    record.recent_failovers.clear();
    record.given_up_at = None;
    if let Some(transition) = &mut record.transition {
        (transition.started_at, transition.reason) = (MicroTime(now()), String::new());
    }
    if let Some(deposed) = &mut record.deposed {
        deposed.epoch = 0;
    }
    if let Some(rebuild) = &mut record.rebuild {
        rebuild.reason = String::new();
    }
    record.abandoned.iter_mut().for_each(|a| a.epoch = 0);
    record.members.iter_mut().for_each(|m| (m.node, m.lag_seconds, m.behind_transactions) = (None, None, None));
    record.members.sort_by(|a, b| a.name.cmp(&b.name));
    record
}

fn boot(record: &Record) -> u8 {
    record.standby_boot.as_deref().and_then(|b| b.rsplit_once("/k")).and_then(|(_, k)| k.parse().ok()).unwrap_or(0)
}

fn volume(record: &Record, member: &str) -> u8 {
    record.member(member).and_then(|m| m.volume.strip_prefix('v')?.parse().ok()).unwrap_or(14)
}

impl Tables {
    pub fn intern(&self, record: Record) -> Rec {
        let record = canonical(record);
        let spelled = format!("record {record:?}");
        let mut known = self.spelled.lock().expect("never poisoned");
        let id = match known.get(&spelled) {
            Some(id) => *id,
            None => {
                let mut records = self.records.write().expect("never poisoned");
                records.push(Arc::new(record.clone()));
                let id = u16::try_from(records.len() - 1).expect("few records");
                known.insert(spelled, id);
                id
            }
        };
        let standby = record.standby.clone().unwrap_or_default();
        Rec {
            id,
            primary: index(&record.primary),
            standby: index(&standby),
            sync: record.mode == shardpair::pair::record::Mode::Sync,
            boot: boot(&record),
            volumes: [volume(&record, "m0"), volume(&record, "m1")],
            moving: record.transition.is_some(),
        }
    }

    pub fn record(&self, id: u16) -> Arc<Record> {
        self.records.read().expect("never poisoned")[id as usize].clone()
    }

    pub fn plan(&self, id: u16) -> Arc<Commands> {
        self.plans.read().expect("never poisoned")[id as usize].clone()
    }

    pub fn intern_plan(&self, commands: Vec<Command>) -> u16 {
        let written: Vec<Option<Rec>> = commands.iter().map(|c| if let Command::Write(record) | Command::Invertible(_, _, record) = c { Some(self.intern((**record).clone())) } else { None }).collect();
        let ids: Vec<Option<u16>> = written.iter().map(|w| w.map(|w| w.id)).collect();
        let spell = |c: &Command| if let Command::Write(_) | Command::Invertible(..) = c { "write".to_owned() } else { format!("{c:?}") };
        let spelled = format!("plan {:?} {ids:?}", commands.iter().map(spell).collect::<Vec<_>>());
        let mut known = self.spelled.lock().expect("never poisoned");
        if let Some(id) = known.get(&spelled) {
            return *id;
        }
        let mut plans = self.plans.write().expect("never poisoned");
        plans.push(Arc::new(Commands { commands, written }));
        let id = u16::try_from(plans.len() - 1).expect("few plans");
        known.insert(spelled, id);
        id
    }

    /// The decision for `key`, made by `decide` the first time.
    pub fn decision(&self, key: Key, decide: impl FnOnce() -> Carried) -> Arc<Carried> {
        let mut hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
        hash %= self.decided.len() as u64;
        let shard = &self.decided[hash as usize].0;
        if let Some(known) = shard.lock().expect("never poisoned").get(&key) {
            return known.clone();
        }
        let made = Arc::new(decide());
        shard.lock().expect("never poisoned").insert(key, made.clone());
        made
    }

    /// Decisions and records that were met.
    pub fn counts(&self) -> (usize, usize) {
        (self.decided.iter().map(|s| s.0.lock().expect("never poisoned").len()).sum(), self.records.read().expect("never poisoned").len())
    }
}

/// Without what an operator can't see.
pub fn visible(server: &Server) -> Server {
    let waits = if server.pending.is_empty() { Set::EMPTY } else { Set::one(0) };
    Server { pending: waits, unsynced: Set::EMPTY, acknowledges: false, ..*server }
}
