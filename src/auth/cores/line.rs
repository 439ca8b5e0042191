//! Line of work that waits for a core: one piece of each network in turn, so that none delays the others by more than that.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard},
};

/// The share of one network in a line is one in so many.
pub const SHARES: usize = 4;

/// Whose work it is: that of each takes turns with that of the others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Party {
    /// Of the service itself.
    Service,
    /// Of a network, which has a share of the places.
    Network(String),
    /// Of a network whose places are not limited.
    Exempt(String),
}

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
    parties: HashMap<Party, Waiting>,
    /// Those whose work waits, the one whose turn it is first.
    turns: VecDeque<Party>,
    closed: bool,
}

#[derive(Default)]
struct Waiting {
    places: usize,
    jobs: VecDeque<Job>,
}

/// A place in a line, free again once it is dropped.
pub struct Place {
    line: Arc<Line>,
    party: Party,
}

impl Line {
    /// With so many places.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, state: Mutex::default(), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("lock poisoned")
    }

    /// A place; `None` where the line is full, or the share of the network.
    pub fn place(self: &Arc<Self>, party: Party) -> Option<Place> {
        let mut state = self.state();
        let share = match party {
            Party::Network(_) => (self.capacity / SHARES).max(1),
            Party::Service | Party::Exempt(_) => self.capacity,
        };
        let taken = state.parties.get(&party).map_or(0, |waiting| waiting.places);
        if state.places >= self.capacity || taken >= share {
            return None;
        }
        state.places += 1;
        state.parties.entry(party.clone()).or_default().places += 1;
        Some(Place { line: self.clone(), party })
    }

    /// Has work wait behind that of the same party; the work drops its place when it begins.
    pub fn push(&self, party: &Party, job: Job) {
        let mut state = self.state();
        let jobs = &mut state.parties.entry(party.clone()).or_default().jobs;
        jobs.push_back(job);
        if jobs.len() == 1 {
            state.turns.push_back(party.clone());
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
            if let Some(party) = state.turns.pop_front() {
                let jobs = &mut state.parties.get_mut(&party).expect("a party with work has a place").jobs;
                let job = jobs.pop_front();
                if !jobs.is_empty() {
                    state.turns.push_back(party);
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
        let left: Vec<_> = state.parties.values_mut().map(|waiting| std::mem::take(&mut waiting.jobs)).collect();
        drop(state);
        self.changed.notify_all();
        // Each holds a place, which holds the line.
        drop(left);
    }

    /// How many places are taken, and by how many parties.
    #[cfg(test)]
    pub fn taken(&self) -> (usize, usize) {
        let state = self.state();
        (state.places, state.parties.len())
    }
}

impl Place {
    /// Whose it is.
    pub fn party(&self) -> &Party {
        &self.party
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.line.state();
        state.places -= 1;
        let Some(waiting) = state.parties.get_mut(&self.party) else { return };
        waiting.places -= 1;
        if waiting.places == 0 && waiting.jobs.is_empty() {
            state.parties.remove(&self.party);
        }
    }
}
