//! Random texts. Passed in, so that no test depends on chance.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

/// A cryptographically secure generator, or one that repeats itself in a test. Clones share the same one.
#[derive(Clone, Default)]
pub struct Random(Option<Arc<Mutex<Repeatable>>>);

struct Repeatable {
    generator: StdRng,
    prepared: VecDeque<String>,
}

impl Random {
    /// The generator of the machine.
    pub fn system() -> Self {
        Self(None)
    }

    /// The same texts for the same seed, but for those of [`Random::prepare`].
    pub fn seeded(seed: u64) -> Self {
        let repeatable = Repeatable { generator: StdRng::seed_from_u64(seed), prepared: VecDeque::new() };
        Self(Some(Arc::new(Mutex::new(repeatable))))
    }

    /// So many characters, all of these equally likely (ASVS 6.5.3).
    pub fn text(&self, characters: &[u8], length: usize) -> String {
        let Some(repeatable) = &self.0 else { return text(&mut rand::rng(), characters, length) };
        let mut repeatable = repeatable.lock().expect("lock poisoned");
        let fits = |text: &String| text.len() == length && text.bytes().all(|byte| characters.contains(&byte));
        match repeatable.prepared.iter().position(fits) {
            Some(place) => repeatable.prepared.remove(place).unwrap_or_default(),
            None => text(&mut repeatable.generator, characters, length),
        }
    }

    /// Makes a text the next one of its kind.
    ///
    /// # Panics
    /// With the generator of the machine: only tests know what comes next.
    pub fn prepare(&self, text: &str) {
        let repeatable = self.0.as_ref().expect("only a seeded generator can be prepared");
        repeatable.lock().expect("lock poisoned").prepared.push_back(text.to_owned());
    }
}

fn text(generator: &mut impl Rng, characters: &[u8], length: usize) -> String {
    (0..length).map(|_| char::from(characters[generator.random_range(0..characters.len())])).collect()
}
