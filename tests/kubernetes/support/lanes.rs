//! Writers over all shards, through the VIPs, by the map: some follow it as it changes, some hold an old one until they are refused.
//!
//! A lane writes keys of one class only (`user_id mod classes`), one row at a time, so that what keys that move feel is told from what
//! keys that stay feel. A row that was refused is tried again; one without an answer is not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant, SystemTime};

use k8s_openapi::api::core::v1::Service;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use shardpair::routing::refusal::{MOVED, NOT_YET};
use shardpair::routing::{Key, Map};
use tokio::task::JoinHandle;

use super::shop::Shop;
use super::writer::{CONNECT, Outcome, Target, grows};

/// The table that lanes write to.
pub const TABLE: &str = "CREATE TABLE IF NOT EXISTS orders (n BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, user_id BIGINT NOT NULL, \
                         run BIGINT UNSIGNED NOT NULL, id BIGINT UNSIGNED NOT NULL, KEY (run, id))";
const AGAIN: Duration = Duration::from_millis(5);
/// Keys of a lane.
const KEYS: u64 = 40;

/// Where shards are, as one kind of client sees it.
struct Router {
    map: Map,
    targets: BTreeMap<u32, Target>,
}

async fn read_map(shop: &Shop, account: &Target) -> Result<Router, String> {
    let map = shop.map().await?;
    let services: Api<Service> = Api::namespaced(shop.client.clone(), &shop.ns);
    let listed = services.list(&ListParams::default().labels(&format!("shardpair.io/cluster={}", shop.name))).await.map_err(|e| e.to_string())?;
    let address = |name: &str| listed.items.iter().find(|s| s.name_any() == name)?.spec.as_ref()?.cluster_ip.as_ref()?.parse().ok();
    let target = |id: u32| Some((id, Target { host: address(&format!("{}-{id}", shop.name))?, ..account.clone() }));
    let targets = map.shards.iter().map(|s| target(s.id).ok_or(format!("no Service of shard {}", s.id))).collect::<Result<_, _>>()?;
    Ok(Router { map, targets })
}

/// One try of a row.
#[derive(Clone, Debug)]
pub struct Try {
    pub id: u64,
    pub key: i64,
    pub began: Instant,
    pub ended: Instant,
    pub outcome: Outcome,
}

/// What a lane did.
pub struct Lane {
    pub class: u64,
    /// It held an old map until it was refused.
    pub old: bool,
    pub tries: Vec<Try>,
}

struct Shared {
    shop: Shop,
    account: Target,
    classes: u64,
    pause: Duration,
    run: u64,
    stop: AtomicBool,
    acked: AtomicU64,
    /// The newest map, read again and again.
    newest: RwLock<Arc<Router>>,
}

/// See the module.
pub struct Lanes {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<Lane>>,
    reader: JoinHandle<()>,
}

impl Lanes {
    /// Makes the table on every shard and begins: for each class a lane of each kind.
    pub async fn start(shop: &Shop, classes: u64, pause: Duration) -> Result<Self, String> {
        let account = shop.vip().await;
        let shop = Shop { client: shop.client.clone(), ns: shop.ns.clone(), name: shop.name.clone() };
        let router = read_map(&shop, &account).await?;
        for target in router.targets.values() {
            let mut conn = target.connect_patiently(Duration::from_secs(10)).await?;
            conn.query_drop(TABLE).await.map_err(|e| e.to_string())?;
        }
        let run = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(|e| e.to_string())?.as_micros() as u64;
        let newest = RwLock::new(Arc::new(router));
        let shared = Arc::new(Shared { shop, account, classes, pause, run, stop: AtomicBool::new(false), acked: AtomicU64::new(0), newest });
        let lane = |number: u64| tokio::spawn(lane(shared.clone(), number / 2, number % 2 == 1, number));
        let tasks = (0..2 * classes).map(lane).collect();
        let reader = tokio::spawn(follow(shared.clone()));
        Ok(Self { shared, tasks, reader })
    }

    pub fn acked(&self) -> u64 {
        self.shared.acked.load(Relaxed)
    }

    /// Waits until `more` rows have been acknowledged from now on.
    pub async fn progress(&self, more: u64, within: Duration) -> Result<(), String> {
        grows(&self.shared.acked, more, within).await
    }

    /// Ends, when every row in flight has been answered or given up.
    pub async fn stop(self) -> Log {
        self.shared.stop.store(true, Relaxed);
        let mut lanes = Vec::new();
        for task in self.tasks {
            lanes.push(task.await.expect("a lane doesn't panic"));
        }
        self.reader.abort();
        Log { run: self.shared.run, lanes }
    }
}

async fn follow(shared: Arc<Shared>) {
    loop {
        if let Ok(router) = read_map(&shared.shop, &shared.account).await {
            let newer = shared.newest.read().expect("never poisoned").map.epoch < router.map.epoch;
            if newer {
                *shared.newest.write().expect("never poisoned") = Arc::new(router);
            }
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

async fn lane(shared: Arc<Shared>, class: u64, old: bool, number: u64) -> Lane {
    let newest = || shared.newest.read().expect("never poisoned").clone();
    let (mut own, mut tries) = (newest(), Vec::new());
    let mut conns: BTreeMap<u32, Conn> = BTreeMap::new();
    let mut sequence = 0_u64;
    while !shared.stop.load(Relaxed) {
        sequence += 1;
        let (id, key) = (number << 40 | sequence, (class + shared.classes * (sequence % KEYS)) as i64);
        loop {
            if !old && own.map.epoch < newest().map.epoch {
                own = newest();
            }
            let shard = own.map.shard_of("shop.orders", &Key::Int(key)).expect("each key has a shard").id;
            let target = own.targets[&shard].clone();
            let began = Instant::now();
            let outcome = attempt(&mut conns, shard, &target, format!("INSERT INTO orders (user_id, run, id) VALUES ({key}, {}, {id})", shared.run)).await;
            let refused = matches!(outcome, Outcome::Refused(_));
            if outcome == Outcome::Acked {
                shared.acked.fetch_add(1, Relaxed);
            }
            tries.push(Try { id, key, began, ended: Instant::now(), outcome });
            if !refused {
                break;
            }
            // Told that it is elsewhere, or not to be reached: a client gets the newest map now.
            own = newest();
            tokio::time::sleep(AGAIN).await;
            if shared.stop.load(Relaxed) {
                break;
            }
        }
        tokio::time::sleep(shared.pause).await;
    }
    Lane { class, old, tries }
}

async fn attempt(conns: &mut BTreeMap<u32, Conn>, shard: u32, target: &Target, sql: String) -> Outcome {
    let mut conn = match conns.remove(&shard) {
        Some(conn) => conn,
        None => match target.connect(CONNECT.max(Duration::from_millis(500))).await {
            Ok(conn) => conn,
            Err(why) => return Outcome::Refused(format!("not connected: {why}")),
        },
    };
    match tokio::time::timeout(Duration::from_secs(5), conn.query_drop(sql)).await {
        Ok(Ok(())) => {
            conns.insert(shard, conn);
            Outcome::Acked
        }
        Ok(Err(Error::Server(e))) if matches!(e.code, MOVED | NOT_YET | 1290 | 1836 | 3032 | 1205 | 1142 | 1146) => {
            // A connection through a VIP that has moved since leads to the old server for ever: after MOVED it is made anew.
            if matches!(e.code, NOT_YET | 1205) {
                conns.insert(shard, conn);
            }
            Outcome::Refused(e.to_string())
        }
        Ok(Err(error)) => Outcome::InDoubt(error.to_string()),
        Err(_) => Outcome::InDoubt("no answer".to_owned()),
    }
}

/// What all lanes did.
pub struct Log {
    pub run: u64,
    pub lanes: Vec<Lane>,
}

/// What lanes of some classes felt between two moments.
#[derive(Debug, Default)]
pub struct Felt {
    pub acked: usize,
    /// Tries that were not acknowledged.
    pub errors: BTreeMap<String, usize>,
    /// The longest time of one lane without an acknowledged row.
    pub gap: Duration,
    /// Of acknowledged rows.
    pub p50: Duration,
    pub p99: Duration,
}

impl Log {
    pub fn acked(&self) -> usize {
        self.lanes.iter().flat_map(|l| &l.tries).filter(|t| t.outcome == Outcome::Acked).count()
    }

    pub fn felt(&self, classes: impl Fn(u64) -> bool, from: Instant, to: Instant) -> Felt {
        let (mut felt, mut took) = (Felt::default(), Vec::new());
        for lane in self.lanes.iter().filter(|l| classes(l.class)) {
            let mut last = from;
            for t in lane.tries.iter().filter(|t| t.ended >= from && t.ended <= to) {
                match &t.outcome {
                    Outcome::Acked => {
                        felt.acked += 1;
                        felt.gap = felt.gap.max(t.ended - last);
                        last = t.ended;
                        took.push(t.ended - t.began);
                    }
                    Outcome::Refused(why) | Outcome::InDoubt(why) => *felt.errors.entry(why.chars().take(60).collect()).or_default() += 1,
                }
            }
            felt.gap = felt.gap.max(to.saturating_duration_since(last));
        }
        took.sort();
        let at = |part: f64| took.get(((took.len() as f64 * part) as usize).min(took.len().saturating_sub(1))).copied().unwrap_or_default();
        (felt.p50, felt.p99) = (at(0.5), at(0.99));
        felt
    }

    /// What is wrong: acknowledged rows that are not exactly once with their owner, refused ones that are there, and (`purged`) rows
    /// that are with somebody else.
    pub async fn problems(&self, shop: &Shop, purged: bool) -> Result<Vec<String>, String> {
        let router = read_map(shop, &shop.vip().await).await?;
        let mut found: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        let (mut problems, mut keys) = (Vec::new(), BTreeMap::new());
        for (shard, target) in &router.targets {
            let mut conn = target.connect_patiently(Duration::from_secs(10)).await?;
            let rows: Vec<(u64, i64)> = conn.query(format!("SELECT id, user_id FROM orders WHERE run = {}", self.run)).await.map_err(|e| e.to_string())?;
            for (id, key) in rows {
                let owner = router.map.shard_of("shop.orders", &Key::Int(key)).map_err(|e| e.to_string())?.id;
                keys.insert(id, key);
                if owner == *shard {
                    found.entry(id).or_default().push(*shard);
                } else if purged {
                    problems.push(format!("FOREIGN: row {id:#x} of key {key} is on shard {shard}, and belongs to {owner}"));
                }
            }
        }
        let mut known = BTreeSet::new();
        for lane in &self.lanes {
            known.extend(lane.tries.iter().map(|t| t.id));
            // The last try of each row says what became of it.
            let last: BTreeMap<u64, &Try> = lane.tries.iter().map(|t| (t.id, t)).collect();
            for t in last.values() {
                let times = found.get(&t.id).map_or(0, Vec::len);
                match &t.outcome {
                    Outcome::Acked if times == 0 => problems.push(format!("LOST: row {:#x} of key {} was acknowledged and is not with its owner", t.id, t.key)),
                    Outcome::Refused(why) if times > 0 => problems.push(format!("PHANTOM: row {:#x} was refused ({why}) and is there", t.id)),
                    _ if times > 1 => problems.push(format!("DOUBLE: row {:#x} is there {times} times", t.id)),
                    _ => {}
                }
            }
        }
        problems.extend(found.keys().filter(|id| !known.contains(id)).map(|id| format!("PHANTOM: {id:#x} was never written")));
        Ok(problems)
    }
}
