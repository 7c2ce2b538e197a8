//! A place where a simulated member stands still: as if its process were stopped, or its host asleep.

use parking_lot::{Condvar, Mutex};

/// Stops the thread that comes to it until somebody opens it.
#[derive(Debug, Default)]
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    arrived: bool,
    open: bool,
}

impl Gate {
    /// Waits until the gate is open.
    pub fn wait(&self) {
        let mut state = self.state.lock();
        state.arrived = true;
        self.changed.notify_all();
        self.changed.wait_while(&mut state, |state| !state.open);
    }

    /// Lets through whoever waits, now and later.
    pub fn open(&self) {
        self.state.lock().open = true;
        self.changed.notify_all();
    }

    /// Notes that nobody will come any more, so that nobody waits for an arrival.
    pub fn pass_by(&self) {
        self.state.lock().arrived = true;
        self.changed.notify_all();
    }

    /// Waits until somebody stands at the gate, or has passed it by.
    pub fn until_arrived(&self) {
        let mut state = self.state.lock();
        self.changed.wait_while(&mut state, |state| !state.arrived);
    }
}
