//! A small world in which the real decisions are carried out: servers that replicate, wait and die as MySQL was seen to,
//! and the commands in the order in which the operator sends them.
//!
//! One pair, or the two of a split (`split`).
//!
//! Pure: no IO, no clock, no chance but a seed. Two users: the model checker in `tests/pure/model`, which tries every
//! interleaving of a few events, and the seeded simulation, which tries long random lives; docs/verification.md says what
//! each covers. It is part of the library and of the shipped binary (`shardpair simulate`), since it is small, needs nothing
//! that isn't there anyway, and lets anybody replay a seed with the very decisions that run in their cluster.

mod befalls;
pub mod dice;
pub mod facts;
pub mod host;
mod laws;
pub mod life;
pub mod operator;
pub mod script;
pub mod server;
pub mod set;
pub mod split;
pub mod verb;
pub mod watch;
pub mod world;
