//! Builds, shows, tests and measures xlb.
fn main() {}
