//! A member's ConfigMap: my.cnf, the entry script, and whether an empty volume is expected.
//!
//! A change of its content rolls no pod: the hash lies on the metadata of ConfigMap and StatefulSet, and the pair decides
//! when to apply it (at run time, or standby first).

use k8s_openapi::api::core::v1::ConfigMap;

use crate::api::names;
use crate::api::valid::Valid;

/// The container's entry: initialises, supervises, ends mysqld.
pub const ENTRY: &str = include_str!("entry.sh");

/// Hash of my.cnf, as noted on ConfigMap and StatefulSet.
pub fn hash(my_cnf: &str) -> String {
    super::hash(my_cnf)
}

/// Builds it. `first`: the record knows no volume of this member yet, so an empty one may be initialised.
pub fn build(cluster: &Valid, member: &str, my_cnf: &str, first: bool) -> ConfigMap {
    let mut metadata = super::meta(cluster, member, &[(names::LABEL_MEMBER, member)]);
    metadata.annotations = Some(super::pairs([(names::CONFIG_HASH, hash(my_cnf))]));
    ConfigMap {
        metadata,
        data: Some(super::pairs([
            ("my.cnf", my_cnf.to_owned()),
            ("entry.sh", ENTRY.to_owned()),
            (names::FIRST, if first { "1" } else { "0" }.to_owned()),
        ])),
        ..ConfigMap::default()
    }
}
