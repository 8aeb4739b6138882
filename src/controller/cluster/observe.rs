//! Everything that exists of a cluster, in one pass: its own objects by label, and by name what is in the way of new ones.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::{Api, Resource, ResourceExt};
use rand::distr::{Alphanumeric, SampleString as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::plan::{self, Class, Fresh, Kind, Live, Seen};
use super::{Context, Failed};
use crate::api::valid::Valid;
use crate::api::{ShardCluster, ShardPair, names};

/// At most this many questions at a time.
const AT_ONCE: usize = 8;
/// So many objects in an answer: a large cluster's are megabytes, and an answer is there as text and as objects at once.
const PAGE: u32 = 50;

/// Looks. `valid`: what is to be made, so that names in the way are noticed; without it only what is there is reported.
pub(super) async fn look(ctx: &Context, cluster: &ShardCluster, valid: Option<&Valid>) -> Result<Seen, Failed> {
    let namespace = cluster.namespace().unwrap_or_default();
    let name = cluster.name_any();
    let mut objects = BTreeMap::new();
    list::<ShardPair>(ctx, &namespace, &name, Kind::Pair, &mut objects).await?;
    list::<Secret>(ctx, &namespace, &name, Kind::Secret, &mut objects).await?;
    list::<StatefulSet>(ctx, &namespace, &name, Kind::StatefulSet, &mut objects).await?;
    list::<Service>(ctx, &namespace, &name, Kind::Service, &mut objects).await?;
    list::<ConfigMap>(ctx, &namespace, &name, Kind::ConfigMap, &mut objects).await?;
    list::<PersistentVolumeClaim>(ctx, &namespace, &name, Kind::Claim, &mut objects).await?;
    list::<PodDisruptionBudget>(ctx, &namespace, &name, Kind::Budget, &mut objects).await?;
    let images = images(ctx, &namespace, &name).await?;
    let mut seen = Seen { objects, images, classes: Vec::new(), fresh: fresh() };
    if let Some(valid) = valid {
        let missing: Vec<_> = plan::names_wanted(valid, &seen).into_iter().chain(plan::names_read(valid)).filter(|key| !seen.objects.contains_key(key)).collect();
        let found: Vec<_> = stream::iter(missing)
            .map(|(kind, name)| in_the_way(ctx, &namespace, kind, name))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        seen.objects.extend(found.into_iter().flatten());
        if plan::needs_classes(valid, &seen) {
            seen.classes = classes(ctx).await?;
        }
    }
    Ok(seen)
}

async fn list<K>(ctx: &Context, namespace: &str, cluster: &str, kind: Kind, into: &mut BTreeMap<(Kind, String), Live>) -> Result<(), Failed>
where
    K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    of_cluster(ctx, namespace, cluster, |mut object: K| {
        // Who wrote which field is most of an applied object, and nobody's question here.
        object.meta_mut().managed_fields = None;
        let value = serde_json::to_value(&object).expect("plain data");
        into.insert((kind, object.name_any()), Live { value });
    })
    .await
}

/// Every object of a kind that is labelled as the cluster's, page by page.
async fn of_cluster<K>(ctx: &Context, namespace: &str, cluster: &str, mut each: impl FnMut(K)) -> Result<(), Failed>
where
    K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(ctx.client.clone(), namespace);
    let mut params = ListParams::default().labels(&format!("{}={cluster}", names::LABEL_CLUSTER)).limit(PAGE);
    loop {
        let found = api.list(&params).await.map_err(Failed::api(format!("list {}", K::plural(&()))))?;
        found.items.into_iter().for_each(&mut each);
        params.continue_token = found.metadata.continue_.filter(|token| !token.is_empty());
        if params.continue_token.is_none() {
            return Ok(());
        }
    }
}

/// An object that has a wanted name without being labelled as ours.
async fn in_the_way(ctx: &Context, namespace: &str, kind: Kind, name: String) -> Result<Option<((Kind, String), Live)>, Failed> {
    let api: Api<DynamicObject> = Api::namespaced_with(ctx.client.clone(), namespace, &resource(kind));
    let found = api.get_opt(&name).await.map_err(Failed::api(format!("get {} {name}", kind.as_str())))?;
    Ok(found.map(|object| ((kind, name), Live { value: serde_json::to_value(&object).expect("plain data") })))
}

/// The API's resource of a kind.
pub(super) fn resource(kind: Kind) -> ApiResource {
    match kind {
        Kind::Pair => ApiResource::erase::<ShardPair>(&()),
        Kind::Secret => ApiResource::erase::<Secret>(&()),
        Kind::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
        Kind::Service => ApiResource::erase::<Service>(&()),
        Kind::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
        Kind::Claim => ApiResource::erase::<PersistentVolumeClaim>(&()),
        Kind::Budget => ApiResource::erase::<PodDisruptionBudget>(&()),
    }
}

/// The image that each member's pod runs now.
async fn images(ctx: &Context, namespace: &str, cluster: &str) -> Result<BTreeMap<String, String>, Failed> {
    let mut images = BTreeMap::new();
    let image = |pod: Pod| {
        let member = pod.labels().get(names::LABEL_MEMBER)?.clone();
        let container = pod.spec?.containers.into_iter().find(|c| c.name == names::CONTAINER)?;
        Some((member, container.image?))
    };
    of_cluster(ctx, namespace, cluster, |pod: Pod| images.extend(image(pod))).await?;
    Ok(images)
}

async fn classes(ctx: &Context) -> Result<Vec<Class>, Failed> {
    let api: Api<StorageClass> = Api::all(ctx.client.clone());
    let found = api.list(&ListParams::default()).await.map_err(Failed::api("list storageclasses"))?;
    let class = |c: StorageClass| Class {
        name: c.name_any(),
        default: c.annotations().get("storageclass.kubernetes.io/is-default-class").is_some_and(|v| v == "true"),
        grows: c.allow_volume_expansion.unwrap_or(false),
    };
    Ok(found.items.into_iter().map(class).collect())
}

/// Passwords for Secrets that don't exist yet: chosen here, since the plan is pure.
fn fresh() -> Fresh {
    let word = || Alphanumeric.sample_string(&mut rand::rng(), 32);
    Fresh { operator: word(), replication: word(), app: word(), redis: word() }
}
