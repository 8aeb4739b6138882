//! One installation per ShardCluster, however many operators run (invariant 7): `status.manager` names it.
//!
//! Claimed by a write that names the resourceVersion it read. Taken over when the other installation's Lease doesn't exist,
//! or stands still for a minute of this process's own clock.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::runtime::events::EventType;
use kube::{Api, Resource, ResourceExt};

use super::{Context, Failed, write};
use crate::api::{ShardCluster, events};
use crate::controller::events::event;

/// A Lease that stands still for this long is nobody's.
const STANDSTILL: Duration = Duration::from_secs(60);

/// The cluster, if this installation manages it (now).
pub(super) async fn claim(ctx: &Context, cluster: &ShardCluster) -> Result<Option<ShardCluster>, Failed> {
    let manager = cluster.status.as_ref().and_then(|s| s.manager.clone());
    match manager {
        Some(manager) if manager == ctx.installation => Ok(Some(cluster.clone())),
        Some(other) if lives(ctx, &other).await? => {
            tell(ctx, cluster, events::MANAGED_ELSEWHERE, EventType::Warning, &format!("managed by the operator {other}: {} leaves it alone", ctx.installation)).await;
            Ok(None)
        }
        Some(gone) => {
            let claimed = write::manager(ctx, cluster).await?;
            tell(ctx, cluster, events::TAKEN_OVER, EventType::Normal, &format!("{} takes over from {gone}, whose Lease stands still or is gone", ctx.installation)).await;
            Ok(Some(claimed))
        }
        None => write::manager(ctx, cluster).await.map(Some),
    }
}

async fn lives(ctx: &Context, manager: &str) -> Result<bool, Failed> {
    let Some((namespace, name)) = manager.split_once('/') else {
        return Ok(false); // nobody writes such a name
    };
    let leases: Api<Lease> = Api::namespaced(ctx.client.clone(), namespace);
    let version = match leases.get_opt(name).await {
        Ok(Some(lease)) => lease.resource_version(),
        Ok(None) => return Ok(false),
        // What can't be seen can't be called dead.
        Err(kube::Error::Api(status)) if status.code == 403 => return Ok(true),
        Err(error) => return Err(Failed::api(format!("get lease {manager}"))(error)),
    };
    let mut leases = ctx.leases.lock().expect("never poisoned");
    match leases.get(manager) {
        Some((known, since)) if *known == version => Ok(since.elapsed() < STANDSTILL),
        _ => {
            leases.insert(manager.to_owned(), (version, Instant::now()));
            Ok(true)
        }
    }
}

/// An event, once per cluster and text.
pub(super) async fn tell(ctx: &Context, cluster: &ShardCluster, reason: &str, type_: EventType, note: &str) {
    let key = format!("{}/{reason}", cluster.uid().unwrap_or_default());
    if ctx.told.lock().expect("never poisoned").insert(key, note.to_owned()).is_some_and(|last| last == note) {
        return;
    }
    tracing::info!(cluster = cluster.name_any(), namespace = cluster.namespace(), reason, note);
    let event = event(type_ == EventType::Warning, reason, note);
    if let Err(error) = ctx.recorder.publish(&event, &cluster.object_ref(&())).await {
        tracing::warn!(%error, reason, "event not published");
    }
}
