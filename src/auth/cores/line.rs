//! Line of work that waits for a core: one piece of each network in turn, so that none delays the others by more than that.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard},
};

/// The share of one network in a line is one in so many.
pub const SHARES: usize = 4;

pub type Job = Box<dyn FnOnce() + Send>;

/// The work that waits, up to a number of pieces.
pub struct Line {
    capacity: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// All places that are taken, whether or not work waits in them.
    places: usize,
    networks: HashMap<Option<String>, Network>,
    /// The networks whose work waits, the one whose turn it is first.
    turns: VecDeque<Option<String>>,
    closed: bool,
}

#[derive(Default)]
struct Network {
    places: usize,
    jobs: VecDeque<Job>,
}

/// A place in a line, free again once it is dropped.
pub struct Place {
    line: Arc<Line>,
    network: Option<String>,
}

impl Line {
    /// With so many places.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, state: Mutex::default(), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("lock poisoned")
    }

    /// A place, in the share of a network if one is named; `None` where line or share is full.
    pub fn place(self: &Arc<Self>, network: Option<String>) -> Option<Place> {
        let mut state = self.state();
        let share = if network.is_some() { (self.capacity / SHARES).max(1) } else { self.capacity };
        let of_network = state.networks.get(&network).map_or(0, |network| network.places);
        if state.places >= self.capacity || of_network >= share {
            return None;
        }
        state.places += 1;
        state.networks.entry(network.clone()).or_default().places += 1;
        Some(Place { line: self.clone(), network })
    }

    /// Has work wait behind that of the same network; the thread that does it drops its place.
    pub fn push(&self, network: &Option<String>, job: Job) {
        let mut state = self.state();
        let jobs = &mut state.networks.entry(network.clone()).or_default().jobs;
        jobs.push_back(job);
        if jobs.len() == 1 {
            state.turns.push_back(network.clone());
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Waits for work, and takes what has its turn; `None` once the line is closed.
    pub fn take(&self) -> Option<Job> {
        let mut state = self.state();
        loop {
            if state.closed {
                return None;
            }
            if let Some(network) = state.turns.pop_front() {
                let jobs = &mut state.networks.get_mut(&network).expect("a network with work has a place").jobs;
                let job = jobs.pop_front();
                if !jobs.is_empty() {
                    state.turns.push_back(network);
                }
                return job;
            }
            state = self.changed.wait(state).expect("lock poisoned");
        }
    }

    /// Ends all waiting for work, and leaves out the work that waits.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.turns.clear();
        let waiting: Vec<_> = state.networks.values_mut().map(|network| std::mem::take(&mut network.jobs)).collect();
        drop(state);
        self.changed.notify_all();
        // Each holds a place, which holds the line.
        drop(waiting);
    }

    /// How many places are taken, and of how many networks.
    #[cfg(test)]
    pub fn taken(&self) -> (usize, usize) {
        let state = self.state();
        (state.places, state.networks.len())
    }
}

impl Place {
    /// The network in whose share it is.
    pub fn network(&self) -> &Option<String> {
        &self.network
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.line.state();
        state.places -= 1;
        let Some(network) = state.networks.get_mut(&self.network) else { return };
        network.places -= 1;
        if network.places == 0 && network.jobs.is_empty() {
            state.networks.remove(&self.network);
        }
    }
}
