//! Log lines that a flood repeats: a hundred a second of each kind, and a count of those that are left out.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// How many lines of a kind are written within a window.
const LINES: u32 = 100;

const WINDOW: Duration = Duration::from_secs(1);

/// The lines of requests that were refused for want of patience or of capacity.
pub static REFUSALS: Sampled = Sampled::new("request served");

/// The security events of limits.
pub static LIMITED: Sampled = Sampled::new("security event");

/// The errors behind requests that no store served.
pub static UNSERVED: Sampled = Sampled::new("a request could not be served");

const ALL: [&Sampled; 3] = [&REFUSALS, &LIMITED, &UNSERVED];

/// One kind of lines.
pub struct Sampled {
    message: &'static str,
    window: Mutex<Window>,
    /// Whether the window has left out any: every request looks.
    has_left_out: AtomicBool,
}

#[derive(Clone, Copy)]
struct Window {
    began: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Sampled {
    const fn new(message: &'static str) -> Self {
        let window = Mutex::new(Window { began: None, lines: 0, left_out: 0 });
        Self { message, window, has_left_out: AtomicBool::new(false) }
    }

    /// May one more line be written?
    pub fn takes(&self, now: Instant) -> bool {
        let (takes, left_out) = {
            let mut window = self.locked();
            let left_out = window.turn(now);
            window.lines = window.lines.saturating_add(1);
            let takes = window.lines <= LINES;
            window.left_out += u64::from(!takes);
            self.has_left_out.store(window.left_out > 0, Ordering::Relaxed);
            (takes, left_out)
        };
        self.tell(left_out);
        takes
    }

    /// Says how many lines were left out, once the window of those is over or there will be no other.
    fn settle(&self, is_over: impl FnOnce(&mut Window) -> u64) {
        let left_out = {
            let mut window = self.locked();
            let left_out = is_over(&mut window);
            self.has_left_out.store(window.left_out > 0, Ordering::Relaxed);
            left_out
        };
        self.tell(left_out);
    }

    fn tell(&self, left_out: u64) {
        if left_out > 0 {
            tracing::info!(left_out, of = self.message, "lines of refusals are left out");
        }
    }

    fn locked(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    /// Begins another window if this one is over; returns how many lines the last one left out.
    fn turn(&mut self, now: Instant) -> u64 {
        if self.began.is_some_and(|began| now.saturating_duration_since(began) < WINDOW) {
            return 0;
        }
        let left_out = self.left_out;
        *self = Self { began: Some(now), lines: 0, left_out: 0 };
        left_out
    }
}

/// Says how many lines were left out, where nothing has come since that would have.
pub fn settle(now: Instant) {
    for kind in ALL.into_iter().filter(|kind| kind.has_left_out.load(Ordering::Relaxed)) {
        kind.settle(|window| window.turn(now));
    }
}

/// The same at the end of the process.
pub fn finish() {
    for kind in ALL {
        kind.settle(|window| std::mem::take(&mut window.left_out));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_lines_a_second_are_written_and_the_others_counted() {
        let sampled = Sampled::new("a test");
        let start = Instant::now();
        for second in 0..3 {
            let written =
                (0..1000).filter(|line| sampled.takes(start + WINDOW * second + Duration::from_micros(*line)));
            assert_eq!(written.count(), 100, "second {second}");
            assert_eq!(sampled.locked().left_out, 900, "second {second}");
        }
        assert_eq!(sampled.locked().turn(start + WINDOW * 3 - Duration::from_millis(1)), 0);
        assert_eq!(sampled.locked().turn(start + WINDOW * 3 + Duration::from_millis(1)), 900);
        assert!((0..100).all(|_| sampled.takes(start + WINDOW * 5)));
        assert_eq!(sampled.locked().left_out, 0);
    }
}
