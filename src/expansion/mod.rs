//! How N shards become 2N: the plan. What a pair does for it is the pair's own (`pair`); this says what is asked of which pair, and when.
//!
//! One direction: observe (`controller::expansion`) -> [`decide`] (pure) -> act (`controller::expansion`) -> [`report`]. Nothing is
//! remembered but what the plan's status, the pairs' specs and their records hold.

pub mod decide;
pub mod facts;
pub mod preflight;
pub mod report;
pub mod step;
