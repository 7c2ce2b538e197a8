//! I9: no file exists for an account whose presence can block an open. Whatever processes leave behind when they die in the
//! midst of something is there anyhow; when peace comes, junk is put beside it.

/// Names that a careless lock, an editor or a dead process might have left.
pub const JUNK: [&str; 4] =
    [".lock", "seg.lock", "tmp.00000000000000000000000000000001.00000000000000ff", "snap.partial"];
