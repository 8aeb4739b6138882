//! What applications hold in their hands, against real MySQL and real Redis.
mod cache;
mod cache_centres;
mod cache_faults;
mod cache_split;
mod calls;
mod examples;
#[allow(dead_code, reason = "shared with tests/mysql")]
#[path = "../mysql/harness.rs"]
mod harness;
mod ids;
mod invalidate;
mod redis_server;
mod route;
mod router;
mod routes;
mod segments;
#[allow(dead_code, reason = "shared with tests/kubernetes")]
mod service;
mod stock;
mod vip;
