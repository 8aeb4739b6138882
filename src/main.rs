//! The operator. 
fn main() {}
