//! I2: one epoch has one writer of one segment file.
//!
//! Held by types: a file can be written only through the handle that made it (`store::fs`), a segment's handle never
//! leaves its log, and a log has one epoch. What is left to check is that no two processes were granted one epoch, see
//! `i03_epochs`, and that no two segments of one ownable carry one epoch and one generation, which `link` decides: the
//! simulated filesystem refuses a name that is taken, and `i07_sealed` sees every name once.
