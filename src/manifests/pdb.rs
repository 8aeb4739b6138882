//! A pair's PodDisruptionBudget: it protects the primary. A drained primary is switched over first; then its pod is the
//! standby, which may be evicted. Exactly one budget matches a pod.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::api::names;
use crate::api::valid::Valid;

/// Builds it.
pub fn build(cluster: &Valid, shard: u32) -> PodDisruptionBudget {
    let number = shard.to_string();
    PodDisruptionBudget {
        metadata: super::meta(cluster, &names::pair(&cluster.name, shard), &[(names::LABEL_SHARD, &number)]),
        spec: Some(PodDisruptionBudgetSpec {
            min_available: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector {
                match_labels: Some(super::pairs([
                    (names::LABEL_CLUSTER, cluster.name.clone()),
                    (names::LABEL_SHARD, number),
                    (names::LABEL_ROLE, names::ROLE_PRIMARY.to_owned()),
                ])),
                ..LabelSelector::default()
            }),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}
