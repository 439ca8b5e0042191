//! Whose numbers are asked about? Those of users who are there, in random order, or random new ones.

use crate::requests::Mobile;

/// Users with consecutive mobiles, drawn in random order: none twice before all were drawn once, because a number has
/// only one code at a time.
pub struct Population {
    first: u64,
    order: Vec<u32>,
    drawn: usize,
}

impl Population {
    /// `size` users from the mobile `first` on, of whom every `step`-th is drawn.
    pub fn new(first: u64, size: u32, step: usize) -> Self {
        let mut order: Vec<u32> = (0..size).step_by(step).collect();
        fastrand::shuffle(&mut order);
        Self { first, order, drawn: 0 }
    }

    /// How many can be drawn before one comes again.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// The next one.
    pub fn draw(&mut self) -> Mobile {
        let user = self.order[self.drawn % self.order.len()];
        self.drawn += 1;
        digits(self.first + u64::from(user))
    }
}

/// A number that hardly anybody has drawn before. Populations begin with 13, new users do not.
pub fn new_mobile() -> Mobile {
    digits(fastrand::u64(14_000_000_000..20_000_000_000))
}

fn digits(mobile: u64) -> Mobile {
    mobile.to_string().into_bytes().try_into().expect("a mobile has eleven digits")
}
