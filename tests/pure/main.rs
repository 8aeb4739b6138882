//! Tests that need nothing but the code: seconds.
mod crds;
mod gtid;
mod validation;
