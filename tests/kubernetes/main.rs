//! The operator on a real Kubernetes with real MySQL servers, from outside: one file a behaviour.
//!
//! Needs `eval "$(tests/cluster/up --nodes 3)"`; `tests/run kubernetes` does that. Tests marked `ignore` take minutes
//! and run with SHARDPAIR_TESTS=all.

mod failover;
mod nodes;
mod operator;
mod provisioning;
mod standby;
mod support;
mod switchover;
