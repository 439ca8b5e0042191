//! How does an operator look at a user, and change what the user may do?

use std::io::{self, BufRead, IsTerminal, Read};

use chrono::{DateTime, SecondsFormat, Utc};
use phonepass::{
    app,
    auth::{
        event::{self, Event, Subject},
        sessions::MAX_SESSIONS,
    },
    clock::Clock,
    config::{ChosenUser, Config, UsersCommand},
    model::{
        mobile::Mobile,
        user::{User, UserStatus},
    },
    store::users::UserStore,
};

use super::{CommandError, import, list, print, tell};

/// Runs one of the commands on users.
pub async fn run(command: &UsersCommand, config: &Config) -> Result<(), CommandError> {
    let now = Clock::system().now();
    match command {
        UsersCommand::Show { mobile } => show(mobile, config, now).await,
        UsersCommand::Disable(chosen) => set_status(chosen, UserStatus::Disabled, config, now).await,
        UsersCommand::Enable(chosen) => set_status(chosen, UserStatus::Active, config, now).await,
        UsersCommand::SignOut(chosen) => {
            let users = app::open_database(config).await?;
            let user = confirmed(users.as_ref(), chosen, "sign out everywhere", now).await?;
            let ended = living(users.as_ref(), &user, now).await?;
            users.end_sessions(user.id, None, now).await?;
            record(Event::SignedOut, &user, ended > 0, ended);
            report(&user, "is signed out", ended)
        }
        UsersCommand::Delete(chosen) => {
            let users = app::open_database(config).await?;
            let user = confirmed(users.as_ref(), chosen, "delete for good", now).await?;
            let ended = living(users.as_ref(), &user, now).await?;
            let cleared = counts(users.as_ref(), &user, config).await.unwrap_or_default();
            users.delete_user(user.id, &cleared, now).await?;
            record(Event::AccountDeleted, &user, true, ended);
            report(&user, "is deleted", ended)?;
            let mut begun_until = DateTime::<Utc>::MAX_UTC;
            while let Some(oldest) = users.forget_sessions(user.id, begun_until).await? {
                begun_until = oldest;
            }
            Ok(())
        }
        UsersCommand::Unlock(chosen) => {
            let users = app::open_database(config).await?;
            let user = confirmed(users.as_ref(), chosen, "unlock", now).await?;
            users.clear_guesses(&counts(users.as_ref(), &user, config).await?).await?;
            event::record_by_operator(Event::UserUnlocked, subject(&user, None));
            print(format_args!("{} ({}) is unlocked.\n", user.mobile.as_str(), printable(&user.name)))
        }
        UsersCommand::List { created_after, format } => list::run(*created_after, *format, config).await,
        UsersCommand::Import { file } => import::run(file, config).await,
    }
}

async fn show(mobile: &Mobile, config: &Config, now: DateTime<Utc>) -> Result<(), CommandError> {
    let users = app::open_database(config).await?;
    let user = find(users.as_ref(), mobile).await?;
    let sessions = living(users.as_ref(), &user, now).await?;
    let lines = [
        ("id", user.id.to_string()),
        ("mobile", user.mobile.as_str().to_owned()),
        ("name", printable(&user.name)),
        ("status", user.status.as_str().to_owned()),
        ("has_password", yes_or_no(user.password_hash.is_some()).to_owned()),
        ("created_at", time(user.created_at)),
        ("last_login", time(user.last_login)),
        ("sessions", sessions.to_string()),
    ];
    lines.iter().try_for_each(|(name, value)| print(format_args!("{name:<13} {value}\n")))
}

async fn set_status(
    chosen: &ChosenUser,
    status: UserStatus,
    config: &Config,
    now: DateTime<Utc>,
) -> Result<(), CommandError> {
    let users = app::open_database(config).await?;
    let question = if status == UserStatus::Active { "enable" } else { "disable" };
    let user = confirmed(users.as_ref(), chosen, question, now).await?;
    let (event, ended, cleared) = if status == UserStatus::Active {
        (Event::UserEnabled, 0, counts(users.as_ref(), &user, config).await)
    } else {
        (Event::UserDisabled, living(users.as_ref(), &user, now).await?, Ok(Vec::new()))
    };
    let cleared = cleared.unwrap_or_else(|error| {
        tell(format_args!("Wrong guesses at the codes and the password stay counted: {error}\n"));
        Vec::new()
    });
    users.set_status(user.id, status, &cleared, now).await?;
    record(event, &user, user.status != status || ended > 0, ended);
    let already = if user.status == status { " already" } else { "" };
    report(&user, &format!("is {}{already}", status.as_str()), ended)
}

/// How many sessions of a user live. Endings do not count: they touch one row, whatever the number of sessions.
async fn living(users: &dyn UserStore, user: &User, now: DateTime<Utc>) -> Result<usize, CommandError> {
    Ok(users.sessions(user.id, MAX_SESSIONS, now).await?.len())
}

/// The names of the counts of wrong guesses at a user's codes and password.
async fn counts(users: &dyn UserStore, user: &User, config: &Config) -> Result<Vec<String>, CommandError> {
    Ok(app::guess_subjects(users, config).await?.all(&user.mobile))
}

async fn find(users: &dyn UserStore, mobile: &Mobile) -> Result<User, CommandError> {
    let user = users.user_by_mobile(mobile).await?;
    user.ok_or_else(|| CommandError::Refused(format!("There is no user with the mobile {}.", mobile.as_str())))
}

/// The chosen user, if whoever runs this means them.
async fn confirmed(
    users: &dyn UserStore,
    chosen: &ChosenUser,
    question: &str,
    now: DateTime<Utc>,
) -> Result<User, CommandError> {
    let user = find(users, &chosen.mobile).await?;
    if chosen.yes {
        return Ok(user);
    }
    let sessions = living(users, &user, now).await?;
    // To standard error: standard output may go into a file, and the question must be seen.
    tell(format_args!("{} ({}), {}\n", user.mobile.as_str(), printable(&user.name), user.status.as_str()));
    let (registered, last) = (time(user.created_at), time(user.last_login));
    tell(format_args!("registered {registered}, signed in last {last}, sessions: {sessions}\n{question}? [y/N] "));
    let mut answer = String::new();
    // Text that is not UTF-8 is no yes either.
    let read = io::stdin().lock().take(100).read_line(&mut answer).is_ok();
    if !io::stdin().is_terminal() {
        // A terminal shows the end of the line that was typed; without one, what follows begins a line all the same.
        tell("\n");
    }
    if read && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        Ok(user)
    } else {
        Err(CommandError::Refused("Nothing was changed.".to_owned()))
    }
}

/// Puts on record what was done to a user; what changed nothing was nothing.
fn record(event: Event, user: &User, changed: bool, ended: usize) {
    if changed {
        event::record_by_operator(event, subject(user, Some(ended)));
    }
}

fn subject(user: &User, count: Option<usize>) -> Subject<'_> {
    Subject { user_id: Some(user.id), mobile: Some(&user.mobile), count, ..Subject::default() }
}

fn report(user: &User, what: &str, ended: usize) -> Result<(), CommandError> {
    print(format_args!("{} ({}) {what}. Sessions ended: {ended}.\n", user.mobile.as_str(), printable(&user.name)))
}

/// A name as a terminal may see it: users choose their names, escape sequences included.
pub fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// A time to the second.
pub fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Yes or no.
pub fn yes_or_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}
