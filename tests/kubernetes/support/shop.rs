//! A small ShardCluster named `shop`, and what is asked of it.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use shardpair::api::cluster::ShardCluster;
use shardpair::api::conditions;
use shardpair::api::pair::ShardPair;
use shardpair::mysql::{Credentials, Endpoint, Session};
use shardpair::pair::record::{Mode, Record};
use shardpair::routing::Map;

use super::faults::{Node, Process};
use super::writer::{Log, Pace, Target, Writer};
use super::{eventually, secs};

/// How long things may take on two busy cores; how long they took is printed.
pub const READY: Duration = Duration::from_secs(120);
pub const BACK_IN_SYNC: Duration = Duration::from_secs(90);
pub const MOVED: Duration = Duration::from_secs(20);

/// Servers of about 350 MB.
pub fn small(shards: u32) -> Value {
    json!({
        "shards": shards,
        "mysql": {
            "image": "mysql:9.7",
            "config": {
                "innodb_buffer_pool_size": "32M", "innodb_log_buffer_size": "1M", "innodb_redo_log_capacity": "64M",
                "max_connections": "80", "table_open_cache": "200", "table_definition_cache": "400",
                "performance_schema_digests_size": "100", "performance_schema_error_size": "0",
            },
            "resources": {"requests": {"cpu": "10m", "memory": "256Mi"}},
            "storage": {"size": "1Gi"},
        },
        "databases": ["shop"],
        "sharding": {"strategy": "Hash", "function": "Mod", "tables": [{"name": "shop.orders", "key": "user_id"}]},
    })
}

/// Lays `change` over `base`, object by object.
pub fn merge(base: &mut Value, change: Value) {
    match (base, change) {
        (Value::Object(base), Value::Object(change)) => {
            for (key, value) in change {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, change) => *base = change,
    }
}

/// See the module.
pub struct Shop {
    pub client: Client,
    pub ns: String,
    pub name: String,
}

impl Shop {
    /// Applies a ShardCluster of one shard and waits until it is Ready.
    pub async fn one_shard(client: &Client, ns: &str) -> Self {
        Self::with(client, ns, 1, json!({})).await
    }

    /// The same with other settings.
    pub async fn with(client: &Client, ns: &str, shards: u32, change: Value) -> Self {
        let shop = Self { client: client.clone(), ns: ns.to_owned(), name: "shop".to_owned() };
        let mut spec = small(shards);
        merge(&mut spec, change);
        let begun = std::time::Instant::now();
        shop.apply(&spec).await.expect("the ShardCluster is accepted");
        shop.ready(READY).await;
        println!("{shards} shard(s) Ready in {:.1} s", begun.elapsed().as_secs_f64());
        shop
    }

    /// Server-side apply, as `kubectl apply --server-side`.
    pub async fn apply(&self, spec: &Value) -> Result<ShardCluster, kube::Error> {
        apply(&self.client, &self.ns, &self.name, spec).await
    }

    /// A merge patch of the spec.
    pub async fn change(&self, change: Value) -> Result<ShardCluster, kube::Error> {
        self.clusters().patch(&self.name, &PatchParams::default(), &Patch::Merge(json!({"spec": change}))).await
    }

    pub fn clusters(&self) -> Api<ShardCluster> {
        Api::namespaced(self.client.clone(), &self.ns)
    }

    /// The map as it is now.
    pub async fn map(&self) -> Result<Map, String> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.ns);
        let found = maps.get(&format!("{}-map", self.name)).await.map_err(|e| e.to_string())?;
        Map::parse(&found.data.unwrap_or_default().remove("map.json").unwrap_or_default()).map_err(|e| e.to_string())
    }

    pub fn pairs(&self) -> Api<ShardPair> {
        Api::namespaced(self.client.clone(), &self.ns)
    }

    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.ns)
    }

    pub async fn ready(&self, within: Duration) {
        eventually("Ready", within, async || {
            let cluster = self.clusters().get(&self.name).await.map_err(|e| e.to_string())?;
            ready(&cluster)
        })
        .await;
    }

    pub async fn pair(&self) -> ShardPair {
        self.pairs().get(&format!("{}-0", self.name)).await.expect("the pair")
    }

    pub async fn record(&self) -> Record {
        self.pair().await.status.unwrap_or_default().record
    }

    pub async fn primary(&self) -> String {
        self.record().await.primary
    }

    pub async fn standby(&self) -> String {
        self.record().await.standby.expect("a standby")
    }

    /// Waits until the pair's record is as wanted.
    pub async fn recorded(&self, what: &str, within: Duration, wanted: impl Fn(&Record) -> bool) -> Record {
        eventually(what, within, async || {
            let pair = self.pairs().get(&format!("{}-0", self.name)).await.map_err(|e| e.to_string())?;
            let record = pair.status.clone().unwrap_or_default().record;
            let ready = conditions::find(&pair.status.unwrap_or_default().conditions, conditions::READY).map(|c| (c.reason.clone(), c.message.clone()));
            if wanted(&record) { Ok(record) } else { Err(format!("{ready:?}; {record:?}")) }
        })
        .await
    }

    /// Waits until another member than `old` is primary.
    pub async fn moved_from(&self, old: &str) -> Record {
        self.recorded("another primary", MOVED, |r| r.primary != old && r.transition.is_none()).await
    }

    /// Waits for Sync and Ready with an epoch of at least `epoch`.
    pub async fn in_sync(&self, epoch: i64, within: Duration) -> Record {
        let begun = std::time::Instant::now();
        let record = eventually("Sync and Ready", within, async || {
            let pair = self.pairs().get(&format!("{}-0", self.name)).await.map_err(|e| e.to_string())?;
            let status = pair.status.unwrap_or_default();
            let ready = conditions::find(&status.conditions, conditions::READY);
            let (record, said) = (&status.record, ready.map(|c| (c.status.clone(), c.reason.clone(), c.message.clone())));
            let at_rest = record.transition.is_none() && record.rebuild.is_none() && record.deposed.is_none();
            let synced = record.mode == Mode::Sync && record.epoch >= epoch && at_rest && ready.is_some_and(|c| c.status == "True");
            if synced { Ok(record.clone()) } else { Err(format!("{said:?}; {record:?}")) }
        })
        .await;
        println!("in Sync after {:.1} s", begun.elapsed().as_secs_f64());
        record
    }

    /// The first shard's VIP, as the application's account.
    pub async fn vip(&self) -> Target {
        self.vip_of(0).await
    }

    /// A shard's VIP, as the application's account.
    pub async fn vip_of(&self, shard: u32) -> Target {
        let services: Api<Service> = Api::namespaced(self.client.clone(), &self.ns);
        let service = services.get(&format!("{}-{shard}", self.name)).await.expect("the VIP");
        let ip = service.spec.and_then(|s| s.cluster_ip).expect("an address");
        let (user, password) = self.secret(&format!("{}-app", self.name), "username", "password").await;
        Target { host: ip.parse::<IpAddr>().expect("an address"), port: 3306, user, password, database: "shop".to_owned() }
    }

    async fn secret(&self, name: &str, user: &str, password: &str) -> (String, String) {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.ns);
        let data = secrets.get(name).await.expect("a Secret").data.unwrap_or_default();
        let text = |key: &str| String::from_utf8(data.get(key).expect("a key").0.clone()).expect("text");
        (text(user), text(password))
    }

    pub async fn writer(&self, pace: Pace) -> Writer {
        Writer::start(&self.vip().await, pace).await.expect("a writer")
    }

    /// A writer that has written something.
    pub async fn busy_writer(&self) -> Writer {
        let writer = self.writer(Pace::default()).await;
        writer.progress(100, secs(10)).await.expect("writes");
        writer
    }

    /// The operator's account on a member itself.
    pub async fn session(&self, member: &str) -> Result<Session, String> {
        let (user, password) = self.secret(&format!("{}-operator", self.name), "operator-username", "operator-password").await;
        let pod = self.pods().get(&pod(member)).await.map_err(|e| e.to_string())?;
        let host = pod.status.and_then(|s| s.pod_ip).ok_or("the pod has no address")?;
        let endpoint = Endpoint { member: member.to_owned(), host, port: 3306 };
        Session::connect(&endpoint, &Credentials { user, password }, secs(5)).await.map_err(|e| e.to_string())
    }

    /// One value from a member itself. A new leader ends all older sessions of the operator's account, this one's too: asked again then.
    pub async fn ask(&self, member: &str, sql: &str) -> String {
        eventually(&format!("{member} answers {sql}"), secs(60), async || {
            let mut session = self.session(member).await?;
            let answer = session.scalar(sql, secs(20)).await.map_err(|e| e.to_string())?;
            session.close().await;
            Ok(answer.unwrap_or_default())
        })
        .await
    }

    /// Every acknowledged row is on the primary once, nothing else is, and both members hold the same.
    pub async fn check(&self, log: &Log) {
        println!("{}", log.summary());
        assert!(log.acked() > 0, "nothing was written");
        let mut conn = self.vip().await.connect_patiently(secs(10)).await.expect("the VIP answers");
        let problems = log.problems(&mut conn).await.expect("rows");
        assert!(problems.is_empty(), "{} problems with {}: {:#?}", problems.len(), log.summary(), &problems[..problems.len().min(20)]);
        self.members_are_equal().await;
    }

    /// Same rows, same history.
    pub async fn members_are_equal(&self) {
        let record = self.record().await;
        let (primary, standby) = (record.primary, record.standby.expect("a standby"));
        let executed = self.ask(&primary, "SELECT @@GLOBAL.gtid_executed").await;
        let wait = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{executed}', 60)");
        assert_eq!(self.ask(&standby, &wait).await, "0", "{standby} doesn't get to {executed}");
        let theirs = self.ask(&standby, "SELECT @@GLOBAL.gtid_executed").await;
        let beyond = self.ask(&primary, &format!("SELECT GTID_SUBTRACT('{theirs}', @@GLOBAL.gtid_executed)")).await;
        assert_eq!(beyond, "", "{standby} has transactions that {primary} lacks");
        let sum = async |member: &str| {
            eventually(&format!("{member} sums up"), secs(60), async || {
                let mut session = self.session(member).await?;
                let rows = session.rows("CHECKSUM TABLE shop.writes", secs(20)).await.map_err(|e| e.to_string())?;
                Ok(rows[0].at(1).map(str::to_owned))
            })
            .await
        };
        // A write in doubt may still come in between the two: a real difference stays.
        let mut sums = (sum(&primary).await, sum(&standby).await);
        for _ in 0..10 {
            if sums.0 == sums.1 {
                return;
            }
            tokio::time::sleep(secs(3)).await;
            sums = (sum(&primary).await, sum(&standby).await);
        }
        assert_eq!(sums.0, sums.1, "checksums of {primary} and {standby}");
    }

    pub async fn node_of(&self, member: &str) -> Node {
        let pod = self.pods().get(&pod(member)).await.expect("a pod");
        Node(pod.spec.and_then(|s| s.node_name).expect("a node"))
    }

    pub async fn kill_mysqld(&self, member: &str) {
        self.mysqld(member).await.kill().await;
    }

    /// A member's server process.
    pub async fn mysqld(&self, member: &str) -> Process {
        Process::of(&self.ns, &pod(member), "mysqld").await
    }

    pub async fn delete_pod(&self, member: &str) {
        self.pods().delete(&pod(member), &DeleteParams::default()).await.expect("deleted");
    }

    /// Sets an annotation of the pair, as `kubectl annotate`.
    pub async fn annotate(&self, key: &str, value: &str) {
        let change = json!({"metadata": {"annotations": {key: value}}});
        self.pairs().patch(&format!("{}-0", self.name), &PatchParams::default(), &Patch::Merge(change)).await.expect("annotated");
    }

    /// Waits until the operator has taken the request away.
    pub async fn request_is_done(&self, key: &str, within: Duration) {
        eventually(&format!("{key} is taken away"), within, async || {
            let pair = self.pairs().get(&format!("{}-0", self.name)).await.map_err(|e| e.to_string())?;
            let left = pair.annotations().get(key).cloned();
            left.map_or(Ok(()), |value| Err(format!("still {value}; {:?}", pair.status)))
        })
        .await;
    }
}

/// A member's pod.
pub fn pod(member: &str) -> String {
    format!("{member}-0")
}

/// As `kubectl wait --for=condition=Ready` sees it.
pub fn ready(cluster: &ShardCluster) -> Result<(), String> {
    let status = cluster.status.clone().unwrap_or_default();
    let current = status.observed_generation == cluster.metadata.generation;
    match conditions::is_true(&status.conditions, conditions::READY) && current {
        true => Ok(()),
        false => Err(format!("{:?} {:?}", status.conditions, status.pairs)),
    }
}

/// Server-side apply of any ShardCluster.
pub async fn apply(client: &Client, ns: &str, name: &str, spec: &Value) -> Result<ShardCluster, kube::Error> {
    let clusters: Api<ShardCluster> = Api::namespaced(client.clone(), ns);
    let object = json!({"apiVersion": "shardpair.io/v1alpha1", "kind": "ShardCluster", "metadata": {"name": name}, "spec": spec});
    clusters.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(object)).await
}
