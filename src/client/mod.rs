//! What an application holds in its hands: routing, pools, a cache that stays right, unique ids.
//!
//! Needs neither Kubernetes nor the operator: MySQL, perhaps Redis, and the map from wherever it is. Everything that waits
//! has a limit, and what is in doubt is returned as in doubt. `docs/clients.md` has the contract for every language.
//!
//! [`Client`] routes a key and runs work on its shard; [`router`] keeps the map; [`outcome`] says what an error means;
//! [`limit`] sheds; [`cache`] keeps values in Redis; [`optimistic`] and [`stock`] guard against other writers; [`ids`] makes ids.

pub mod cache;
mod calls;
pub(crate) mod http;
pub mod ids;
pub mod limit;
pub mod optimistic;
pub mod outcome;
mod owner;
mod pools;
pub mod router;
mod routes;
pub mod stock;

pub use cache::{Cache, CacheOptions, OtherCentre};
pub use calls::{At, Client, ClientOptions, Freshness, Member, Places, Token, Work, standard_places};
pub use limit::{Limit, Limiter};
pub use outcome::CallError;
pub use pools::Address;
pub use router::{MapSource, Router, RouterError};
