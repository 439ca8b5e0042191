//! The secret that the keys come from: given, kept in `DATA_DIR`, or generated; and whether the database knows it.

use std::{io, path::Path};

use super::start_error::StartError;
use crate::{
    auth::{
        event::{self, Event, Subject},
        guess_subjects::GuessSubjects,
        master_key::MasterKey,
    },
    clock::Clock,
    config::Config,
    private_file,
    store::users::UserStore,
};

/// The file in `DATA_DIR` that keeps a generated secret.
const SECRET_FILE: &str = "secret.key";

/// The name under which the database keeps the fingerprint of `SECRET_KEY`.
const FINGERPRINT: &str = "secret_key_fingerprint";

/// `SECRET_KEY`, or the one that a former start generated, or a new one.
pub(super) fn master_key(config: &Config) -> Result<MasterKey, StartError> {
    if let Some(key) = &config.secret_key {
        return Ok(key.clone());
    }
    let path = config.data_dir.join(SECRET_FILE);
    let text = private_file::read_or_create(&path, || format!("{}\n", MasterKey::generate()).into_bytes())
        .map_err(|error| unusable(&path, &error))?;
    MasterKey::from_base64(&text)
        .ok_or_else(|| StartError::Config(format!("{}: expected 32 bytes in base64", path.display())))
}

/// What names the counts of wrong guesses, for a command beside the service.
///
/// # Errors
/// Without the `SECRET_KEY` of the service, or with another one: the names would be wrong.
pub async fn guess_subjects(users: &dyn UserStore, config: &Config) -> Result<GuessSubjects, StartError> {
    if config.secret_key.is_none() && !config.data_dir.join(SECRET_FILE).exists() {
        return Err(StartError::Config("neither SECRET_KEY nor DATA_DIR/secret.key is there".to_owned()));
    }
    let master = master_key(config)?;
    let fingerprint = master.fingerprint();
    if users.setting_or_insert(FINGERPRINT, &fingerprint).await? != fingerprint {
        return Err(StartError::Config("SECRET_KEY is not the one that the service uses".to_owned()));
    }
    Ok(GuessSubjects::new(&master))
}

/// Another secret would silently end every session and code: it takes a word from the operator.
pub(super) async fn check_fingerprint(
    users: &dyn UserStore,
    master: &MasterKey,
    accept_new: bool,
    clock: &Clock,
) -> Result<(), StartError> {
    let fingerprint = master.fingerprint();
    loop {
        let known = users.setting_or_insert(FINGERPRINT, &fingerprint).await?;
        if known == fingerprint {
            return Ok(());
        }
        if !accept_new {
            return Err(StartError::Config(
                "SECRET_KEY is not the one that this database was used with. Start with the former one (all instances \
                 share it; without SECRET_KEY it is DATA_DIR/secret.key), or take the new one with `phonepass serve \
                 --accept-new-secret`: all sessions end."
                    .to_owned(),
            ));
        }
        // One of several instances that start together does it: the others would end sessions that have begun since.
        if users.end_all_sessions(clock.now(), FINGERPRINT, &known, &fingerprint).await? {
            tracing::warn!("a new SECRET_KEY was accepted; all sessions have ended");
            event::record_by_operator(Event::SecretChanged, Subject::default());
            return Ok(());
        }
    }
}

fn unusable(path: &Path, error: &io::Error) -> StartError {
    StartError::Io(format!("{}: {error}", path.display()))
}
