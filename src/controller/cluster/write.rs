//! Writes to the ShardCluster's status: only what changed, and only onto the version that was read.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::error_boundary::InvalidObject;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::{Context, Failed, REFUSED, manager as installation};
use crate::api::cluster::ShardClusterStatus;
use crate::api::conditions::{self, READY, STALLED, Said};
use crate::api::{ShardCluster, events};

/// Writes the status, if it changed.
pub(super) async fn status(ctx: &Context, cluster: &ShardCluster, status: ShardClusterStatus) -> Result<(), Failed> {
    if cluster.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let old = cluster.status.clone().unwrap_or_default();
    patch(ctx, cluster, serde_json::to_value(&status).expect("plain data")).await?;
    if let Some(stalled) = conditions::find(&status.conditions, STALLED) {
        let told = conditions::find(&old.conditions, STALLED).is_some_and(|c| c.message == stalled.message);
        if !told {
            let note = format!("{}: {}", stalled.reason, stalled.message);
            installation::tell(ctx, cluster, events::REFUSED, EventType::Warning, &note).await;
        }
    }
    Ok(())
}

/// Makes this installation the cluster's manager.
pub(super) async fn manager(ctx: &Context, cluster: &ShardCluster) -> Result<ShardCluster, Failed> {
    patch(ctx, cluster, json!({"manager": ctx.installation})).await
}

async fn patch(ctx: &Context, cluster: &ShardCluster, status: Value) -> Result<ShardCluster, Failed> {
    let api: Api<ShardCluster> = Api::namespaced(ctx.fast.clone(), &cluster.namespace().unwrap_or_default());
    let body = json!({"metadata": {"resourceVersion": cluster.resource_version()}, "status": status});
    let name = cluster.name_any();
    api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&body)).await.map_err(Failed::api(format!("status of {name}")))
}

/// A ShardCluster that this operator can't even read: said in its conditions; others go on.
pub(super) async fn unreadable(ctx: &Context, object: &InvalidObject) -> Result<Action, Failed> {
    let meta = &object.metadata;
    let (namespace, name) = (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
    tracing::warn!(cluster = name, namespace, error = object.error, "unreadable ShardCluster");
    let api: Api<DynamicObject> = Api::namespaced_with(ctx.client.clone(), &namespace, &ApiResource::erase::<ShardCluster>(&()));
    let Some(live) = api.get_opt(&name).await.map_err(Failed::api(format!("get {name}")))? else {
        return Ok(Action::await_change());
    };
    let old: Vec<Condition> = serde_json::from_value(live.data["status"]["conditions"].clone()).unwrap_or_default();
    let message = format!("this operator can't read the object ({}): correct the spec, or install the CRDs of the operator's version", object.error);
    let mut new = old.clone();
    for said in [Said::new(READY, false, "Unreadable", &message), Said::new(STALLED, true, "Unreadable", &message)] {
        conditions::upsert(&mut new, said, meta.generation, Timestamp::now());
    }
    if new != old {
        let body = json!({"metadata": {"resourceVersion": live.resource_version()}, "status": {"conditions": new}});
        api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&body)).await.map_err(Failed::api(format!("status of {name}")))?;
    }
    Ok(Action::requeue(REFUSED))
}
