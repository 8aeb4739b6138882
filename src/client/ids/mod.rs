//! Unique ids without a round trip each: [`Snowflake`] (64 bits of time, worker and count) and [`Segments`] (dense numbers,
//! handed out by a MySQL row in blocks). For rows that only their own shard numbers, the pairs' interleaved
//! AUTO_INCREMENT needs no client at all.
//!
//! A snowflake's uniqueness rests on no clock and no time-out: a worker id's *milliseconds* are reserved in advance, by
//! compare-and-set in a [`Store`], and ids are made of reserved milliseconds only. Whoever takes the worker id over begins
//! after them. Leases only decide who is gone.

mod grant;
#[cfg(feature = "client-kubernetes")]
mod kubernetes;
mod redis;
mod segment;
mod snowflake;
mod store;

pub use grant::{Grant, NotNow, Parts, parts};
#[cfg(feature = "client-kubernetes")]
pub use kubernetes::KubernetesStore;
pub use redis::RedisStore;
pub use segment::{SegmentError, SegmentOptions, Segments};
pub use snowflake::{Clock, IdError, Snowflake, SnowflakeOptions};
pub use store::{Entry, Store, StoreError};
