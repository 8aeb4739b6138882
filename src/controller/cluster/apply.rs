//! Carries out a plan as it stands, in its order, and stops at the first surprise: the next pass plans anew.

use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::events::EventType;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::plan::{Action, Kind, Plan};
use super::{Context, Failed, manager, observe};
use crate::api::{ShardCluster, events, names};

pub(super) async fn carry_out(ctx: &Context, cluster: &ShardCluster, plan: &Plan) -> Result<(), Failed> {
    let namespace = cluster.namespace().unwrap_or_default();
    for action in &plan.actions {
        match action {
            Action::Create(kind, value) => create(ctx, &namespace, *kind, value).await?,
            Action::Apply(kind, value, uid) => {
                apply(ctx, &namespace, *kind, value, uid.as_deref()).await?;
                if *kind == Kind::Claim && uid.is_some() {
                    let note = format!("PersistentVolumeClaim {} is brought up to date", name(value));
                    manager::tell(ctx, cluster, events::VOLUME_GROWS, EventType::Normal, &note).await;
                }
            }
            Action::Delete(kind, name, uid) => {
                delete(ctx, &namespace, *kind, name, uid).await?;
                let note = format!("{} {name}: no pair or shard of this name is there any more", kind.as_str());
                manager::tell(ctx, cluster, events::DELETED, EventType::Normal, &note).await;
            }
        }
    }
    Ok(())
}

fn name(value: &Value) -> &str {
    value["metadata"]["name"].as_str().unwrap_or_default()
}

fn api(ctx: &Context, namespace: &str, kind: Kind) -> Api<DynamicObject> {
    Api::namespaced_with(ctx.client.clone(), namespace, &observe::resource(kind))
}

async fn create(ctx: &Context, namespace: &str, kind: Kind, value: &Value) -> Result<(), Failed> {
    let object: DynamicObject = serde_json::from_value(value.clone()).expect("an object");
    let params = PostParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PostParams::default() };
    let made = api(ctx, namespace, kind).create(&params, &object).await;
    made.map(drop).map_err(Failed::api(format!("create {} {}", kind.as_str(), name(value))))
}

async fn apply(ctx: &Context, namespace: &str, kind: Kind, value: &Value, uid: Option<&str>) -> Result<(), Failed> {
    let mut value = value.clone();
    let mut params = PatchParams::apply(names::FIELD_MANAGER);
    if let Some(uid) = uid {
        // Onto this very object: another one of the same name is a conflict. Without uid nothing is forced either.
        value["metadata"]["uid"] = json!(uid);
        params = params.force();
    }
    let what = format!("apply {} {}", kind.as_str(), name(&value));
    let done = api(ctx, namespace, kind).patch(name(&value), &params, &Patch::Apply(&value)).await;
    done.map(drop).map_err(Failed::api(what))
}

async fn delete(ctx: &Context, namespace: &str, kind: Kind, name: &str, uid: &str) -> Result<(), Failed> {
    let params = DeleteParams::default().preconditions(Preconditions { uid: Some(uid.to_owned()), resource_version: None });
    match api(ctx, namespace, kind).delete(name, &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        Err(error) => Err(Failed::api(format!("delete {} {name}", kind.as_str()))(error)),
    }
}
