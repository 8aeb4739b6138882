//! The jobs themselves: what they look at, over which sessions, and when they look again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};

use super::{audit, purge};
use super::work::{Desk, Errand};
use crate::api::cluster::{Strategy, TableClass};
use crate::api::expansion::{Finding, Severity, Standbys};
use crate::api::valid::Valid;
use crate::api::{ShardPair, names};
use crate::controller::prober;
use crate::controller::stores::Stores;
use crate::expansion::facts::Preflight;
use crate::expansion::preflight::{Schema, ShardSeen, Wanted, check};
use crate::expansion::step::Work;
use crate::manifests::map;
use crate::mysql::schema;
use crate::mysql::session::{Credentials, Session};
use crate::pair::settings::Durability;
use crate::routing::Keys;

/// A connection, or a look at the API server.
const CALL: Duration = Duration::from_secs(3);

/// One question to a dictionary, or about a key's median.
const READ: Duration = Duration::from_secs(30);

/// Runs a job to its end.
pub(super) async fn run(desk: Desk, work: Work, errand: Errand) {
    match work {
        Work::Preflight => {
            let result = preflight(&desk, &errand).await;
            desk.tell(|found| found.preflight = Some((Instant::now(), errand.generation, result)));
        }
        Work::Audit(shard) => {
            if let Err(error) = audit::run(&desk, shard, &errand).await {
                tracing::info!(plan = errand.plan, shard, error, "audit");
                desk.tell(|found| found.audits.entry(shard).or_default().error = Some(error));
            }
        }
        Work::Purge(shard) => {
            let error = purge::run(&desk, shard, &errand).await.err();
            desk.tell(|found| found.purges.entry(shard).or_default().error = error);
        }
    }
}

async fn preflight(desk: &Desk, errand: &Errand) -> Result<Preflight, String> {
    let cluster = desk.cluster()?;
    let spec = &cluster.sharding;
    let wanted = Wanted {
        tables: spec.tables.iter().map(Into::into).collect(),
        strategy: spec.strategy,
        function: spec.function,
        interleave: cluster.settings.interleave_ids,
        required: cluster.settings.durability == Durability::Required,
        standbys_after: errand.standbys == Standbys::After,
        volume_bytes: u64::try_from(cluster.storage.size_bytes).unwrap_or(u64::MAX),
    };
    let (mut shards, mut medians, mut bad) = (Vec::new(), BTreeMap::new(), Vec::new());
    for shard in 0..errand.to_shards / 2 {
        let (mut session, pair) = (desk.primary(shard).await?, desk.pair(shard)?);
        let schema = schema::read(&mut session, &cluster.databases, READ).await.map_err(|e| e.to_string())?;
        if spec.strategy == Strategy::Range {
            match bound(&mut session, &cluster, errand, shard, &schema).await {
                Ok(at) => drop(at.and_then(|at| medians.insert(shard, at))),
                Err(finding) => bad.push(finding),
            }
        }
        let record = pair.status.clone().unwrap_or_default().record;
        let mut versions = vec![(record.primary.clone(), schema.version.clone())];
        if let Some(standby) = record.standby {
            let version = desk.session(&standby).await?.scalar("SELECT @@version", READ).await.map_err(|e| e.to_string())?;
            versions.push((standby, version.unwrap_or_default()));
        }
        let abandoned = record.abandoned.first().map(|a| format!("the writes of {} were given up and may be wanted back", a.member));
        shards.push(ShardSeen { pair: pair.name_any(), unwell: abandoned, versions, schema });
        session.close().await;
    }
    let mut findings = check(&wanted, &shards);
    bad.append(&mut findings);
    Ok(Preflight { findings: bad, medians })
}

/// Range: where a shard is cut: as the plan says, else at the median of its largest table; None: it has no rows.
async fn bound(session: &mut Session, cluster: &Valid, errand: &Errand, shard: u32, schema: &Schema) -> Result<Option<i64>, Finding> {
    let keys = map::keys(cluster, shard);
    let refuse = |why: String| Finding {
        severity: Severity::Refused,
        reason: "SplitAt".to_owned(),
        object: names::pair(&cluster.name, shard),
        message: format!("{why}: make a plan with spec.splitAt, one bound per shard"),
    };
    let at = match errand.split_at.get(shard as usize) {
        Some(at) => Some(*at),
        None => {
            let rows = |name: &str| schema.tables.iter().find(|t| t.name == name).map_or(0, |t| t.rows);
            let sharded = cluster.sharding.tables.iter().filter(|t| t.class == TableClass::Sharded);
            let Some(largest) = sharded.max_by_key(|t| rows(&t.name)) else { return Ok(None) };
            let Keys::Range { from, to } = keys else { return Ok(None) };
            let key = largest.key.clone().unwrap_or_default();
            schema::median(session, &largest.name, &key, from, to, READ).await.map_err(|e| refuse(e.to_string()))?
        }
    };
    match at.map(|at| keys.split(Some(at))) {
        Some(Err(error)) => Err(refuse(error.to_string())),
        _ => Ok(at),
    }
}

impl Desk {
    /// The ShardCluster, parsed.
    pub(super) fn cluster(&self) -> Result<Valid, String> {
        let cluster = Stores::get(&self.ctx.stores.clusters, &self.namespace, &self.cluster).ok_or("the ShardCluster is gone")?;
        let cluster = cluster.0.as_ref().map_err(|e| e.error.clone())?;
        Valid::parse(cluster).map_err(|invalid| invalid.message)
    }

    /// The pair of a shard, as it is watched.
    pub(super) fn pair(&self, shard: u32) -> Result<ShardPair, String> {
        let name = names::pair(&self.cluster, shard);
        Stores::get(&self.ctx.stores.pairs, &self.namespace, &name).map(|p| (*p).clone()).ok_or(format!("ShardPair {name} isn't there"))
    }

    async fn credentials(&self) -> Result<Credentials, String> {
        let secrets: Api<Secret> = Api::namespaced(self.ctx.client.clone(), &self.namespace);
        let name = names::operator_secret(&self.cluster);
        let secret = tokio::time::timeout(CALL, secrets.get(&name)).await.map_err(|_| "no answer from the API server".to_owned())?;
        let data = secret.map_err(|e| format!("Secret {name}: {e}"))?.data.unwrap_or_default();
        let text = |key: &str| data.get(key).and_then(|v| String::from_utf8(v.0.clone()).ok()).ok_or(format!("Secret {name} has no {key}"));
        Ok(Credentials { user: text(names::OPERATOR_USERNAME)?, password: text(names::OPERATOR_PASSWORD)? })
    }

    /// A session of one's own on a member.
    pub(super) async fn session(&self, member: &str) -> Result<Session, String> {
        let credentials = self.credentials().await?;
        let pod = Stores::get(&self.ctx.stores.pods, &self.namespace, &names::pod(member));
        let endpoint = pod.and_then(|p| prober::endpoint(member, &p)).ok_or(format!("the pod of {member} has no address"))?;
        let session = Session::connect(&endpoint, &credentials, CALL).await.map_err(|e| e.to_string())?;
        // Asked after connecting, which may have taken its time (invariant 7).
        if self.ctx.leadership.holds() { Ok(session) } else { Err("this operator doesn't lead".to_owned()) }
    }

    /// A session on the primary of a shard.
    pub(super) async fn primary(&self, shard: u32) -> Result<Session, String> {
        let pair = self.pair(shard)?;
        let primary = pair.status.as_ref().map(|s| s.record.primary.clone()).filter(|p| !p.is_empty());
        self.session(&primary.ok_or(format!("{} has no primary", pair.name_any()))?).await
    }
}
