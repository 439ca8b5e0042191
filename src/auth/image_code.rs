//! How is a picture code made and checked?

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::sync::Notify;

use super::{
    cores::Cores,
    error::Error,
    limits::Limits,
    picture::{self, ALPHABET},
};
use crate::{
    model::{id::is_id, origin::Origin},
    random::Random,
    store::ephemeral::EphemeralStore,
    telemetry::metrics,
};

/// How many pictures are drawn ahead, for those who come all at once: 300 KB.
const DRAWN_AHEAD: usize = 64;

/// How many of them are drawn in one go.
const DRAWN_IN_A_GO: usize = 8;

/// The client's own name for a picture: a UUID, a timestamp, whatever it likes.
#[derive(Clone, Debug)]
pub struct ImageCodeId(String);

impl ImageCodeId {
    /// 1 to 64 letters, digits, `_` and `-`.
    pub fn parse(id: &str) -> Option<Self> {
        is_id(id, 1).then(|| Self(id.to_owned()))
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
    limits: Arc<Limits>,
    ttl: Duration,
    length: usize,
    cores: Arc<Cores>,
    random: Random,
    /// Each is handed out once.
    drawn: Mutex<Vec<Picture>>,
    handed_out: Notify,
}

struct Picture {
    text: String,
    jpeg: Vec<u8>,
}

impl Picture {
    fn draw(length: usize, random: &Random) -> Self {
        let text = random.text(ALPHABET, length);
        Self { jpeg: picture::draw(&text), text }
    }
}

impl ImageCodes {
    /// Pictures of so many random characters, valid for so long, drawn on these cores.
    pub fn new(
        codes: Arc<dyn EphemeralStore>,
        limits: Arc<Limits>,
        ttl: Duration,
        length: usize,
        cores: Arc<Cores>,
        random: Random,
    ) -> Self {
        Self { codes, limits, ttl, length, cores, random, drawn: Mutex::default(), handed_out: Notify::new() }
    }

    /// A fresh picture (JPEG) under the client's id.
    pub async fn create(&self, id: &ImageCodeId, origin: &Origin) -> Result<Vec<u8>, Error> {
        let Picture { text, jpeg } = self.picture(origin).await?;
        let share = self.limits.share(origin, &id.0);
        self.codes.put_image_code(&id.0, &text.to_ascii_lowercase(), &share, self.ttl).await?;
        Ok(jpeg)
    }

    async fn picture(&self, origin: &Origin) -> Result<Picture, Error> {
        let drawn = self.drawn().pop();
        self.handed_out.notify_one();
        let (length, random) = (self.length, self.random.clone());
        match drawn {
            Some(picture) => Ok(picture),
            None => {
                let place = self.cores.place(self.limits.party(origin))?;
                self.cores.timed(place, move || Picture::draw(length, &random)).await.map(|(picture, _)| picture)
            }
        }
    }

    /// Draws pictures ahead, from the first one that is asked for on, for as long as it is polled.
    pub async fn draw_ahead(&self) {
        let length = self.length;
        loop {
            self.handed_out.notified().await;
            while self.drawn().len() < DRAWN_AHEAD {
                let random = self.random.clone();
                let draw = move || (0..DRAWN_IN_A_GO).map(|_| Picture::draw(length, &random)).collect::<Vec<_>>();
                match self.cores.run(draw).await {
                    Ok(pictures) => self.drawn().extend(pictures),
                    // Whoever waits for a picture comes first.
                    Err(_) => break,
                }
            }
        }
    }

    fn drawn(&self) -> MutexGuard<'_, Vec<Picture>> {
        self.drawn.lock().expect("no panic while the pictures are held")
    }

    /// Compares an answer. The picture is gone afterwards, whatever the outcome: no second guess.
    pub async fn check(&self, answer: &PictureAnswer) -> Result<(), Error> {
        let text = self.codes.take_image_code(&answer.id.0).await?;
        let (outcome, checked) = match text {
            None => ("expired", Err(Error::ImageCodeExpired)),
            Some(text) if answer.text.to_ascii_lowercase() == text => ("right", Ok(())),
            Some(_) => ("wrong", Err(Error::ImageCodeInvalid)),
        };
        metrics::IMAGE_CODES.count([outcome]);
        checked
    }
}
