//! The Services: one per member, which its peer replicates from, the VIP of a pair, and perhaps one for reads of its standby.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::api::names;
use crate::api::valid::Valid;

/// A member's own: an address that survives its pod. No selector: the pair's controller says where it leads (`slice`).
pub fn member(cluster: &Valid, member: &str) -> Service {
    Service {
        metadata: super::meta(cluster, member, &[(names::LABEL_MEMBER, member)]),
        spec: Some(port("mysql", names::PORT)),
        ..Service::default()
    }
}

/// The VIP: no selector, so that nobody but the pair's controller says where it leads (`slice`).
pub fn vip(cluster: &Valid, shard: u32) -> Service {
    let number = shard.to_string();
    Service {
        metadata: super::meta(cluster, &names::pair(&cluster.name, shard), &[(names::LABEL_SHARD, &number)]),
        spec: Some(port("mysql", names::PORT)),
        ..Service::default()
    }
}

/// For reads of the standby: no selector either.
pub fn read(cluster: &Valid, shard: u32) -> Service {
    let number = shard.to_string();
    Service {
        metadata: super::meta(cluster, &names::read(&cluster.name, shard), &[(names::LABEL_SHARD, &number)]),
        spec: Some(port("mysql", names::PORT)),
        ..Service::default()
    }
}

/// Of a Service with an address of its own and one port, which leads to the same one.
pub(super) fn port(name: &str, port: i32) -> ServiceSpec {
    ServiceSpec {
        type_: Some("ClusterIP".to_owned()),
        ports: Some(vec![ServicePort {
            name: Some(name.to_owned()),
            port,
            protocol: Some("TCP".to_owned()),
            target_port: Some(IntOrString::Int(port)),
            ..ServicePort::default()
        }]),
        ..ServiceSpec::default()
    }
}
