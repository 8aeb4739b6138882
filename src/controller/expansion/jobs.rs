//! The jobs themselves: what they look at, over which sessions, and when they look again.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};

use super::work::{Desk, Errand};
use crate::api::{ShardPair, names};
use crate::controller::stores::Stores;
use crate::expansion::facts::Preflight;
use crate::expansion::step::Work;
use crate::mysql::session::{Credentials, Endpoint, Session};

/// A connection, or a look at the API server.
const CALL: Duration = Duration::from_secs(3);

/// Runs a job to its end.
pub(super) async fn run(desk: Desk, work: Work, errand: Errand) {
    match work {
        Work::Preflight => {
            let result = preflight(&desk, &errand).await;
            desk.tell(|found| found.preflight = Some((Instant::now(), errand.generation, result)));
        }
        Work::Audit(shard) => {
            let error = format!("shard {shard}: not looked at");
            desk.tell(|found| found.audits.entry(shard).or_default().error = Some(error));
        }
        Work::Purge(shard) => {
            let error = format!("shard {shard}: not looked at");
            desk.tell(|found| found.purges.entry(shard).or_default().error = Some(error));
        }
    }
}

async fn preflight(desk: &Desk, errand: &Errand) -> Result<Preflight, String> {
    for shard in 0..errand.to_shards / 2 {
        desk.primary(shard).await?;
    }
    Ok(Preflight::default())
}

impl Desk {
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
        let host = pod.and_then(|p| p.status.as_ref()?.pod_ip.clone()).ok_or(format!("the pod of {member} has no address"))?;
        let endpoint = Endpoint { member: member.to_owned(), host, port: names::PORT as u16 };
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
