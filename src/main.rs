//! The one program `laniakea`: every role and every command.
fn main() {}
