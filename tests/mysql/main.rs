//! What real MySQL does with our verbs: one file a behaviour, each test with servers of its own.
mod harness;
mod session;
