//! Tests that need nothing but the code: seconds.
mod crds;
mod decisions;
mod expansion;
mod gtid;
mod model;
mod invariants;
mod simulation;
mod splits;
mod validation;
mod manifests;
mod purity;
mod cluster_plan;
mod chart;
mod plugin;
mod routing;
mod preflight;
mod documents;
