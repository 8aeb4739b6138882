//! An application under load through our client and its cache while its primary dies and its shard is split: whoever reads after a
//! write was acknowledged sees it, or how much older it was is within a stated bound; and no row is lost.
//!
//! Two processes of it, each with its own connections (`Client`, `Cache`): one writes and reads, one only reads. Besides, somebody writes who
//! never heard of the cache. The map comes from the routing service, and the invalidator of the chart reads the binlogs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use k8s_openapi::api::core::v1::Service;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use serde_json::json;
use shardpair::api::expansion::Phase;
use shardpair::client::cache::Load;
use shardpair::client::{At, Cache, CacheOptions, CallError, Client, ClientOptions, Freshness, MapSource, Member, Places, Work};
use shardpair::routing::{Key, Shard};
use tokio::task::JoinSet;

use crate::cache::{OUTBOX, address, url};
use crate::support::faults::Process;
use crate::support::lanes::{Lane, Log, Try};
use crate::support::plan::Plan;
use crate::support::shop::Shop;
use crate::support::writer::Outcome;
use crate::support::{eventually, kubectl, logs, run, secs, with_temp_ns_for};

/// Who writes through the cache; and after them those whose writer never heard of it.
const USERS: u64 = 8;
const FOREIGN: u64 = 4;
/// Readers in each process.
const READERS: u64 = 3;
/// How much older than an acknowledged write a read value may be: in the process that wrote, in another one (docs/clients.md: until
/// somebody emptied the outbox, a second after Redis is back), and after a writer that never heard of the cache (the
/// invalidator's lag: while the pair fails over it must find the other member first).
const BOUNDS: [Duration; 3] = [Duration::ZERO, secs(3), secs(15)];
const WHO: [&str; 3] = ["in the writer's process", "in another process", "after a foreign writer"];
/// On a quiet machine it takes about a third of it.
const LIMIT: Duration = secs(540);

/// As `lanes::TABLE`, with an index for who asks what a user did last.
const TABLE: &str = "CREATE TABLE shop.orders (n BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, user_id BIGINT NOT NULL, \
                     run BIGINT UNSIGNED NOT NULL, id BIGINT UNSIGNED NOT NULL, KEY (run, id), KEY (user_id, id))";

/// Services and their addresses.
type Addresses = Arc<RwLock<BTreeMap<String, String>>>;

async fn look(services: &Api<Service>, known: &Addresses) {
    let Ok(listed) = services.list(&ListParams::default().labels("shardpair.io/cluster=shop")).await else { return };
    let found = listed.items.iter().filter_map(|s| Some((s.name_any(), s.spec.as_ref()?.cluster_ip.clone()?)));
    known.write().expect("never poisoned").extend(found);
}

/// This machine asks no cluster DNS: the Services' addresses stand for their names, those of new shards too.
async fn places(shop: &Shop, tasks: &mut JoinSet<()>) -> Places {
    let services: Api<Service> = Api::namespaced(shop.client.clone(), &shop.ns);
    let known = Addresses::default();
    look(&services, &known).await;
    let following = known.clone();
    tasks.spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(250)).await;
            look(&services, &following).await;
        }
    });
    Arc::new(move |shard: &Shard, member: Member| {
        let name = shard.vip.split('.').next().unwrap_or_default();
        let address = known.read().expect("never poisoned").get(name).cloned();
        (member == Member::Primary).then(|| (address.unwrap_or_else(|| shard.vip.clone()), shard.port))
    })
}

fn at(user: u64) -> At<'static> {
    At::Row("shop.orders", Key::Uint(user))
}

fn key(user: u64) -> String {
    format!("last:{user}")
}

fn insert(user: u64, run: u64, id: u64) -> impl for<'c> Fn(&'c mut Conn) -> Work<'c, ()> + Sync {
    move |conn| Box::pin(async move { conn.exec_drop("INSERT INTO shop.orders (user_id, run, id) VALUES (?, ?, ?)", (user, run, id)).await })
}

fn last(client: &Client, user: u64) -> Load<'_> {
    Box::pin(async move {
        let sql = "SELECT max(id) FROM shop.orders WHERE user_id = ?";
        let found = client.read(at(user), Freshness::Latest, move |conn| Box::pin(async move { conn.exec_first::<Option<u64>, _, _>(sql, (user,)).await })).await?;
        Ok(found.flatten().map(|id| id.to_string().into_bytes()))
    })
}

/// One process of the application.
struct App {
    client: Arc<Client>,
    cache: Cache,
}

impl App {
    async fn get(&self, user: u64) -> Result<u64, CallError> {
        let value = self.cache.get(&key(user), || last(&self.client, user)).await?;
        Ok(value.map_or(0, |text| String::from_utf8_lossy(&text).parse().expect("a number")))
    }
}

/// What was read after an acknowledged write and didn't show it.
#[derive(Default)]
struct Stale {
    reads: AtomicU64,
    stale: AtomicU64,
    oldest_ms: AtomicU64,
}

/// What readers and writers share.
struct Run {
    number: u64,
    apps: [App; 2],
    /// Its writes go past the cache.
    foreign: Client,
    stop: AtomicBool,
    /// By user: acknowledged rows, and when.
    acked: Vec<Mutex<Vec<(u64, Instant)>>>,
    stale: [Stale; 3],
}

impl Run {
    async fn writes(self: Arc<Self>, user: u64) -> Lane {
        let mut tries = Vec::new();
        for n in 1.. {
            if self.stop.load(Relaxed) {
                break;
            }
            let (id, began) = (user << 40 | n, Instant::now());
            let work = insert(user, self.number, id);
            let result = if user < USERS {
                self.apps[0].cache.transaction(at(user), &[&key(user)], work).await
            } else {
                self.foreign.transaction(at(user), work).await
            };
            let ended = Instant::now();
            let outcome = match result {
                Ok(()) => {
                    self.acked[user as usize].lock().expect("never poisoned").push((id, ended));
                    Outcome::Acked
                }
                Err(CallError::InDoubt { why, .. }) => Outcome::InDoubt(why),
                Err(error) => Outcome::Refused(error.to_string()),
            };
            tries.push(Try { id, key: user as i64, began, ended, outcome });
            tokio::time::sleep(Duration::from_millis(rand::random_range(10..80))).await;
        }
        Lane { class: user % 2, old: false, tries }
    }

    /// For how long there had been an acknowledged row that is newer than this one; None: there was none.
    fn older(&self, user: u64, id: u64, at: Instant) -> Option<Duration> {
        let acked = self.acked[user as usize].lock().expect("never poisoned");
        let (_, since) = acked.get(acked.partition_point(|(acked, _)| *acked <= id))?;
        at.checked_duration_since(*since)
    }

    async fn reads(self: Arc<Self>, app: usize) {
        while !self.stop.load(Relaxed) {
            let user = rand::random_range(0..USERS + FOREIGN);
            let begun = Instant::now();
            let value = self.apps[app].get(user).await.unwrap_or_else(|e| panic!("a read of user {user}: {e}"));
            let kind = &self.stale[if user < USERS { app } else { 2 }];
            kind.reads.fetch_add(1, Relaxed);
            if let Some(older) = self.older(user, value, begun) {
                kind.stale.fetch_add(1, Relaxed);
                kind.oldest_ms.fetch_max(older.as_millis() as u64, Relaxed);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn written(&self) -> Vec<usize> {
        self.acked.iter().map(|acked| acked.lock().expect("never poisoned").len()).collect()
    }

    fn hits(&self) -> [u64; 2] {
        self.apps.each_ref().map(|app| app.cache.counts().hits.load(Relaxed))
    }

    /// Everybody's writes, and reads from Redis in both processes.
    async fn goes_on(&self, what: &str) {
        let (hits, written, begun) = (self.hits(), self.written(), Instant::now());
        eventually(&format!("it goes on {what}"), secs(90), async || {
            let (now, rows) = (self.hits(), self.written());
            let on = rows.iter().zip(&written).all(|(now, before)| *now > before + 2) && now.iter().zip(hits).all(|(now, before)| *now > before + 20);
            if on { Ok(()) } else { Err(format!("rows {written:?} then {rows:?}; hits {hits:?} then {now:?}; {:?}", self.apps.each_ref().map(|a| a.cache.problem()))) }
        })
        .await;
        self.tell(&format!("{what}, after {:.1} s", begun.elapsed().as_secs_f64()));
    }

    fn tell(&self, what: &str) {
        let value = |counter: &AtomicU64| counter.load(Relaxed);
        let said = self.stale.iter().zip(WHO).map(|(s, who)| format!("{who} {} reads, {} older, by {} ms at most", value(&s.reads), value(&s.stale), value(&s.oldest_ms)));
        println!("{what}: {}", said.collect::<Vec<_>>().join("; "));
    }

    /// In the end: what is cached is what the database has, in both processes' eyes.
    async fn agrees(&self) {
        for user in 0..USERS + FOREIGN {
            for app in &self.apps {
                eventually(&format!("user {user}: cache and database agree"), BOUNDS[2], async || {
                    let sampled = app.cache.sample(&key(user), Duration::ZERO, || last(&app.client, user)).await.map_err(|e| e.to_string())?;
                    let (got, there) = (app.get(user).await.map_err(|e| e.to_string())?, last(&app.client, user).await.map_err(|e| e.to_string())?);
                    let there = there.map_or("0".to_owned(), |text| String::from_utf8_lossy(&text).into_owned());
                    if sampled != Some(false) && got.to_string() == there { Ok(()) } else { Err(format!("{sampled:?}, {got} and {there}")) }
                })
                .await;
            }
        }
    }
}

/// What the chart has for applications, beside the release, which other tests use as it is: the routing service, the invalidator.
async fn services(shop: &Shop) {
    let ns = &shop.ns;
    kubectl(&["-n", ns, "create", "secret", "generic", "watcher", "--from-literal=username=invalidator", "--from-literal=password=a word"]).await;
    let wanted = json!([{"namespace": ns, "cluster": "shop", "cacheNamespace": "shop", "redisSecret": "shop-redis", "mysqlSecret": "watcher", "keys": ["shop.orders=last:{user_id}"]}]);
    let (watch, invalidate) = (format!("watchNamespace={ns}"), format!("invalidate.clusters={wanted}"));
    let only = ["-s", "templates/route.yaml", "-s", "templates/invalidate.yaml", "--set", "route.enabled=true,route.replicas=1"];
    let text = run("helm", &[&["template", "shardpair", "charts/shardpair", "-n", ns, "--set", &watch, "--set-json", &invalidate], &only[..]].concat()).await;
    let file = logs().join(format!("{ns}-services.yaml"));
    std::fs::write(&file, text).expect("written");
    kubectl(&["-n", ns, "apply", "-f", &file.display().to_string()]).await;
    for deployment in ["deployment/shardpair-route", "deployment/shop-invalidate"] {
        kubectl(&["-n", ns, "rollout", "status", deployment, "--timeout=120s"]).await;
    }
}

async fn start(shop: &Shop, places: &Places) -> Arc<Run> {
    let (account, redis) = (shop.vip().await, url(shop).await);
    let map = format!("http://{}/v1/clusters/{}/shop", address(shop, "shardpair-route").await, shop.ns);
    let client = async |name: &str| {
        let options = ClientOptions { places: places.clone(), patience: secs(60), ..ClientOptions::new(name, &account.user, &account.password) };
        Client::new(MapSource::Service(map.clone()), options).await.expect("a client")
    };
    let app = async |name: &str| {
        let client = Arc::new(client(name).await);
        // A write in doubt is looked for no longer than the dead primary could still be heard of.
        let options = CacheOptions { hold: secs(20), doubt: secs(10), deadline: Duration::from_millis(500), ..CacheOptions::new("shop", OUTBOX) };
        App { cache: Cache::new(&redis, client.clone(), options).expect("a cache"), client }
    };
    let number = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros() as u64;
    let acked = (0..USERS + FOREIGN).map(|_| Mutex::default()).collect();
    let (apps, foreign) = ([app("checkout").await, app("catalogue").await], client("legacy").await);
    Arc::new(Run { number, apps, foreign, stop: AtomicBool::new(false), acked, stale: Default::default() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes on a busy machine: SHARDPAIR_TESTS=all"]
async fn nothing_older_than_its_bound_is_read_over_a_failover_and_a_split() {
    with_temp_ns_for("cache-split", LIMIT, async |kube, ns| {
        let tables = json!([{"name": "shop.orders", "key": "user_id"}, {"name": OUTBOX, "class": "Local"}]);
        let shop = Shop::with(&kube, &ns, 1, json!({"cache": {"redis": {"memory": "32Mi"}}, "sharding": {"tables": tables}})).await;
        let mut session = shop.session(&shop.primary().await).await.expect("a session");
        for sql in [
            TABLE,
            "CREATE USER 'invalidator'@'%' IDENTIFIED BY 'a word'",
            "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'invalidator'@'%'",
            &format!("CREATE TABLE {OUTBOX} (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, cache_key VARBINARY(512) NOT NULL)"),
        ] {
            session.exec(sql, secs(10)).await.expect(sql);
        }
        services(&shop).await;
        let mut following = JoinSet::new();
        let all = start(&shop, &places(&shop, &mut following).await).await;
        let (mut writers, mut readers) = (JoinSet::new(), JoinSet::new());
        (0..USERS + FOREIGN).for_each(|user| drop(writers.spawn(all.clone().writes(user))));
        (0..2 * READERS).for_each(|n| drop(readers.spawn(all.clone().reads(n as usize % 2))));
        all.goes_on("before").await;

        // Redis hangs, then the primary dies.
        let redis = Process::of(&ns, "shop-redis-0", "redis-server").await;
        redis.hang().await;
        tokio::time::sleep(secs(1)).await;
        run("kill", &["-CONT", &redis.0]).await;
        let before = shop.record().await;
        shop.kill_mysqld(&before.primary).await;
        shop.moved_from(&before.primary).await;
        all.goes_on("after a failover").await;

        // Prepared: the map has two shards, and both VIPs lead to the one server. Redis dies.
        let plan = Plan::apply(&shop, "to-2", 2, json!({"until": "Prepared"})).await;
        plan.reaches(Phase::Prepared, secs(240)).await;
        eventually("both have the new map", secs(60), async || {
            let epochs = all.apps.each_ref().map(|app| app.client.router().map().shards.len());
            if epochs == [2, 2] { Ok(()) } else { Err(format!("{epochs:?} shards")) }
        })
        .await;
        redis.kill().await;
        all.goes_on("after Redis died").await;

        // The flip, with Redis emptied under it.
        plan.until("Complete").await;
        let url = url(&shop).await;
        eventually("the keys have moved", secs(120), async || {
            let mut redis = redis::Client::open(url.as_str()).map_err(|e| e.to_string())?.get_multiplexed_async_connection().await.map_err(|e| e.to_string())?;
            let _: () = redis::cmd("FLUSHALL").query_async(&mut redis).await.map_err(|e| e.to_string())?;
            let status = plan.status().await?;
            if status.phase >= Some(Phase::Flipped) { Ok(()) } else { Err(format!("{:?}", status.phase)) }
        })
        .await;
        all.goes_on("after the flip").await;
        plan.reaches(Phase::Complete, secs(180)).await;
        all.goes_on("when it is complete").await;

        all.stop.store(true, Relaxed);
        while let Some(ended) = readers.join_next().await {
            ended.expect("a reader");
        }
        let log = Log { run: all.number, lanes: writers.join_all().await };
        // A Redis that is too slow is away: then writes to the new shard are refused while the split can be taken back (docs/clients.md).
        let tries = log.lanes.iter().flat_map(|l| &l.tries).filter(|t| matches!(t.outcome, Outcome::Refused(_)));
        let (not_yet, refused): (Vec<_>, Vec<_>) = tries.partition(|t| matches!(&t.outcome, Outcome::Refused(why) if why.contains("shardpair not-yet") && why.contains("cache_outbox")));
        let doubt = log.lanes.iter().flat_map(|l| &l.tries).filter(|t| matches!(t.outcome, Outcome::InDoubt(_))).count();
        println!("{} rows acknowledged, {doubt} in doubt, {} refused for want of Redis; hits {:?}", log.acked(), not_yet.len(), all.hits());
        assert!(refused.is_empty(), "the client tries on: {refused:?}");
        let problems = log.problems(&shop, true).await.expect("rows");
        assert!(log.acked() > 0 && problems.is_empty(), "{} problems: {:#?}", problems.len(), &problems[..problems.len().min(20)]);
        all.agrees().await;
        all.tell("in the end");
        for ((stale, bound), who) in all.stale.iter().zip(BOUNDS).zip(WHO) {
            let oldest = stale.oldest_ms.load(Relaxed);
            assert!(u128::from(oldest) <= bound.as_millis(), "{who}: a value was {oldest} ms older than an acknowledged write, more than {bound:?}");
            assert!(bound > Duration::ZERO || stale.stale.load(Relaxed) == 0, "{who}: nothing older at all");
        }
    })
    .await;
}
