//! How is a picture code made and checked?

use std::{sync::Arc, time::Duration};

use rand::RngExt;

use super::{
    cores::Cores,
    error::Error,
    picture::{self, ALPHABET},
};
use crate::store::ephemeral::EphemeralStore;

/// How many drawings may wait for each core: a tenth of a second's worth.
const QUEUE_PER_CORE: usize = 256;

/// The client's own name for a picture: a UUID, a timestamp, whatever it likes.
#[derive(Clone, Debug)]
pub struct ImageCodeId(String);

impl ImageCodeId {
    /// 1 to 64 letters, digits, `_` and `-`.
    pub fn parse(id: &str) -> Option<Self> {
        let shaped = (1..=64).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        shaped.then(|| Self(id.to_owned()))
    }
}

/// What somebody read in a picture.
#[derive(Clone, Debug)]
pub struct PictureAnswer {
    /// Which picture.
    pub id: ImageCodeId,
    /// What it says; upper and lower case are one.
    pub text: String,
}

/// Makes and checks picture codes.
pub struct ImageCodes {
    codes: Arc<dyn EphemeralStore>,
    ttl: Duration,
    length: usize,
    cores: Cores,
}

impl ImageCodes {
    /// Pictures of so many characters, valid for so long.
    pub fn new(codes: Arc<dyn EphemeralStore>, ttl: Duration, length: usize) -> Self {
        Self { codes, ttl, length, cores: Cores::new("picture codes", QUEUE_PER_CORE) }
    }

    /// A fresh picture (JPEG) under the client's id.
    pub async fn create(&self, id: &ImageCodeId) -> Result<Vec<u8>, Error> {
        let text = random_text(self.length);
        self.codes.put_image_code(&id.0, &text.to_ascii_lowercase(), self.ttl).await?;
        self.cores.run(move || picture::draw(&text)).await
    }

    /// Compares an answer. The picture is gone afterwards, whatever the outcome: no second guess.
    pub async fn check(&self, answer: &PictureAnswer) -> Result<(), Error> {
        let text = self.codes.take_image_code(&answer.id.0).await?.ok_or(Error::ImageCodeExpired)?;
        if answer.text.to_ascii_lowercase() == text { Ok(()) } else { Err(Error::ImageCodeInvalid) }
    }
}

fn random_text(length: usize) -> String {
    let mut random = rand::rng();
    (0..length).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())])).collect()
}
