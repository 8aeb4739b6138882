//! A member: a StatefulSet of one. `OnDelete`: nobody but the operator ends a pod, standby first.

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetUpdateStrategy};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{config, pod};
use crate::api::names;
use crate::api::valid::Valid;

/// Names what the spec wants of any member alike: its pod template, and `my_cnf`, rendered for the same number each time.
pub fn wanted(cluster: &Valid, my_cnf: &str) -> String {
    let template = serde_json::to_string(&pod::template(cluster, "", 0)).expect("plain data");
    super::hash(&(template + my_cnf))
}

/// Builds it. `template_shard`: the shard that the template was first made for; a split moves members, and labels of
/// running pods follow, but the template must not change for it, or every pod would count as outdated.
pub fn build(cluster: &Valid, member: &str, template_shard: u32, my_cnf: &str, wanted: &str) -> StatefulSet {
    let mut metadata = super::meta(cluster, member, &[(names::LABEL_MEMBER, member)]);
    metadata.annotations = Some(super::pairs([(names::CONFIG_HASH, config::hash(my_cnf)), (names::WANTED_HASH, wanted.to_owned())]));
    StatefulSet {
        metadata,
        spec: Some(StatefulSetSpec {
            replicas: Some(1),
            service_name: Some(member.to_owned()),
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy { type_: Some("OnDelete".to_owned()), rolling_update: None }),
            revision_history_limit: Some(2),
            selector: LabelSelector {
                match_labels: Some(super::pairs([
                    (names::LABEL_CLUSTER, cluster.name.clone()),
                    (names::LABEL_MEMBER, member.to_owned()),
                ])),
                ..LabelSelector::default()
            },
            template: pod::template(cluster, member, template_shard),
            ..StatefulSetSpec::default()
        }),
        status: None,
    }
}
