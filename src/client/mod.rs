//! What an application holds in its hands: routing, pools, a cache that stays right, unique ids.
//!
//! Needs neither Kubernetes nor the operator: MySQL, perhaps Redis, and the map from wherever it is. Everything that waits
//! has a limit, and what is in doubt is returned as in doubt ([`docs/clients.md`] says what a caller may conclude).

pub mod ids;
