//! What real MySQL does with our verbs: one file a behaviour, each test with servers of its own.
mod accounts;
mod facts;
mod failover;
mod harness;
mod session;
