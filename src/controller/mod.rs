//! The glue between the pure rooms and the world: reconcilers, probers, the Lease.

pub mod check;
mod clients;
pub mod cluster;
mod events;
mod foreign;
pub mod expansion;
pub mod keep;
pub mod leader;
pub mod members;
pub mod measure;
pub mod metrics;
pub mod numbers;
pub mod operator;
pub mod page;
pub mod pair;
pub mod prober;
mod runners;
pub mod spans;
pub mod stores;
mod waiters;
