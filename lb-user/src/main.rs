//! The command `xlb`.
fn main() {}
