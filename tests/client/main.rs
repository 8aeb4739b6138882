//! What applications hold in their hands, against real MySQL and real Redis.
#[allow(dead_code, reason = "shared with tests/mysql")]
#[path = "../mysql/harness.rs"]
mod harness;
mod ids;
mod redis_server;
mod segments;
