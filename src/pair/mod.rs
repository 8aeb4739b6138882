//! How two servers stay one database: record, facts, decide, report: all pure. `controller::pair` observes and acts.

pub mod decide;
pub mod facts;
pub mod guide;
pub mod reads;
pub mod record;
pub mod report;
pub mod settings;
pub mod split;
pub mod step;
