//! shardpair: dual-master MySQL shard pairs on Kubernetes.
//!
//! One direction, four rooms per capability: *observe* gathers what is seen into plain values, *decide* is pure,
//! *act* carries out exactly what was decided, *report* tells. `docs/architecture.md` has the picture.

#[cfg(feature = "operator")]
pub mod api;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "operator")]
pub mod controller;
#[cfg(feature = "operator")]
pub mod expansion;
#[cfg(feature = "operator")]
pub mod invalidate;
#[cfg(feature = "operator")]
pub mod manifests;
#[cfg(feature = "operator")]
pub mod mysql;
#[cfg(feature = "operator")]
pub mod pair;
#[cfg(feature = "plugin")]
pub mod plugin;
#[cfg(feature = "operator")]
mod reasons;
#[cfg(feature = "operator")]
pub mod route;
pub mod routing;
#[cfg(feature = "operator")]
pub mod simulation;
#[cfg(feature = "otel")]
pub mod telemetry;
