//! The only place that speaks to MySQL.
//!
//! Pure parts: [`gtid`], [`config`], the rendering in [`tail`], and the inversion in [`rewind`]. The rest are verbs: each carries out one thing on one
//! member through a [`session::Session`], is idempotent, has a deadline, and verifies what it did.

pub mod accounts;
pub mod audit;
pub mod clone;
pub mod config;
pub mod error;
pub mod facts;
pub mod gtid;
pub mod guard;
pub mod heartbeat;
pub mod purge;
pub mod replication;
pub mod rewind;
pub mod role;
pub mod schema;
pub mod session;
pub mod sessions;
pub mod settings;
pub mod status;
pub mod tail;
mod unlogged;
pub mod verify;
mod walk;

pub use error::Error;
pub use session::{Credentials, Endpoint, Session};
