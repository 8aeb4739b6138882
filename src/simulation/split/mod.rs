//! Two pairs of a split in the simulation. The members, faults, commands and the way a life goes are those of one pair;
//! here is what a split adds: `pairs` the two of them in one world, `guard` the guard on a member, `commands` what its commands
//! do there, `befalls` what else happens, `plan` the ExpansionPlan's words and when they are carried out, `laws` what may never be, `life` how it all goes.

mod befalls;
mod commands;
pub mod guard;
mod laws;
pub mod life;
pub mod pairs;
mod plan;
