//! tests
mod gtid;
