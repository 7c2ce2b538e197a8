//! Simulation of a cluster in one thread: the real machines of [`crate::cluster`] on a simulated network, clock and shared
//! directory, with faults drawn from a seed.
//!
//! The same seed gives the same run, event by event; every failure names its seed, and `LANIAKEA_SEED=<n>` runs that one
//! alone. `LANIAKEA_SEEDS=<n>` runs as many as one likes. In a run faults come first; then everything is healed, and every
//! account must be usable again soon.
//!
//! - `random`: numbers from a seed
//! - `network`: links that delay, break, and are cut in one direction or both
//! - `task`: what a process does on the filesystem, which may stop before any operation of it
//! - `process`: one member's process: its seat, its tick, its clock, the workers of what it owns
//! - `world`: the clock, the queue of what happens next, and who it happens to
//! - `faults`: what goes wrong, and when it ends
//! - `invariant`: what must be true all the time, a module each

mod faults;
mod invariant;
mod network;
mod process;
mod random;
mod task;
mod world;

#[cfg(test)]
mod tests;
