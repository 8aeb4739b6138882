//! What real MySQL does with our verbs: one file a behaviour, each test with servers of its own.
mod accounts;
mod audit;
mod clone;
mod entry;
mod facts;
mod failover;
mod guard;
mod harness;
mod rewind;
mod purge;
mod schema;
mod session;
mod split;
mod sessions;
mod switchover;
mod tail;
mod vectors;
