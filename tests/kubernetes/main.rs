//! The operator on a real Kubernetes with real MySQL servers, from outside: one file a behaviour.
//!
//! Needs `eval "$(tests/cluster/up --nodes 3)"`; `tests/run kubernetes` does that. Tests marked `ignore` take minutes
//! and run with SHARDPAIR_TESTS=all.

mod bad_input;
#[allow(dead_code, reason = "made for tests/page")]
#[path = "../page/browser.rs"]
mod browser;
mod cache;
mod cache_split;
mod changes;
mod chart;
mod commands;
mod expansion;
mod failover;
mod ids;
mod lifecycle;
mod metrics;
mod nodes;
mod operator;
mod page;
mod plugin;
mod provisioning;
mod route;
#[allow(dead_code, reason = "shared with tests/client")]
#[path = "../client/service.rs"]
mod service;
mod standby;
mod strategies;
#[allow(dead_code, reason = "the benchmark uses more of it")]
mod support;
#[allow(dead_code, reason = "shared with tests/pure")]
#[path = "../pure/snippets/said.rs"]
mod said;
mod switchover;
mod upgrade;
#[allow(dead_code, reason = "shared with tests/client")]
#[path = "../client/vip.rs"]
mod vip;
