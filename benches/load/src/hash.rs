//! How many passwords can these cores hash? And one hash, for users who shall have a password.

use std::{
    num::NonZero,
    thread,
    time::{Duration, Instant},
};

use argon2::{Argon2, PasswordHasher};

use crate::requests::PASSWORD;

/// The hash of [`PASSWORD`] as a PHC string.
pub fn password_hash() -> String {
    Argon2::default().hash_password(PASSWORD.as_bytes()).expect("the password is not too long").to_string()
}

/// Hashes a second on the cores that the service gives to hashing (half of them), with nothing between them and the hash.
pub fn per_second(time: Duration) -> f64 {
    let start = Instant::now();
    let cores = thread::available_parallelism().map_or(1, NonZero::get).div_ceil(2);
    let hash_on = || {
        let mut hashes = 0.0;
        while start.elapsed() < time {
            password_hash();
            hashes += 1.0;
        }
        hashes / start.elapsed().as_secs_f64()
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(hash_on)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    })
}
