//! The database that `DATABASE_URL` names. Read once, at the start, so that a wrong one is a wrong setting.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use sqlx::{
    postgres::{PgConnectOptions, PgSslMode},
    sqlite::SqliteConnectOptions,
};
use url::{Url, form_urlencoded};

/// What the driver of PostgreSQL knows behind the question mark. It ignores everything else, and logs it with its
/// value.
const PARAMETERS: [&str; 13] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// The parameters that name a file in PEM, or are one.
const FILES: [&str; 3] = ["sslcert", "sslkey", "sslrootcert"];

/// The ways to lock files that SQLite has on Unix.
const VFS: [&str; 4] = ["unix", "unix-dotfile", "unix-excl", "unix-none"];

const NO_HOST: &str =
    "it names no host: expected postgres://user:password@host:5432/database, or ?host= with the folder of a socket";

const UNENCODED: &str = "characters such as @ : / ? # in its user name or password have to be percent-encoded";

/// A database that can be opened. Its `Debug` hides the password.
#[derive(Clone)]
pub struct Database(pub(super) Options);

#[derive(Clone)]
pub(super) enum Options {
    Postgres(Box<PgConnectOptions>),
    Sqlite(Box<SqliteConnectOptions>),
}

impl Database {
    /// The SQLite database in a file, whatever characters its path has.
    pub fn file(path: &Path) -> Self {
        // SQLite takes what begins with file: for a URI.
        let path = if path.is_relative() { &Path::new(".").join(path) } else { path };
        Self(Options::Sqlite(Box::new(SqliteConnectOptions::new().filename(path))))
    }

    /// The file of a SQLite database.
    pub fn path(&self) -> Option<PathBuf> {
        match &self.0 {
            Options::Postgres(_) => None,
            Options::Sqlite(options) => Some(options.get_filename().to_owned()),
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Options::Postgres(_) => "postgres",
            Options::Sqlite(_) => "sqlite",
        })
    }
}

/// Reads a `postgres:` or `sqlite:` URL. The error never quotes it: even the name of a parameter may be a piece of a
/// password that was not encoded. Nor is what a driver says passed on, for the same reason.
impl FromStr for Database {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let options = if text.starts_with("sqlite:") {
            Options::Sqlite(Box::new(sqlite(text)?))
        } else if text.starts_with("postgres:") || text.starts_with("postgresql:") {
            Options::Postgres(Box::new(postgres(text)?))
        } else {
            return Err("expected a sqlite: or postgres: URL".to_owned());
        };
        Ok(Self(options))
    }
}

fn postgres(text: &str) -> Result<PgConnectOptions, String> {
    let url = Url::parse(text).map_err(|error| format!("expected a postgres: URL ({error}); {UNENCODED}"))?;
    if !url.has_authority() {
        return Err(NO_HOST.to_owned());
    }
    if url.fragment().is_some() || url.path().contains('@') || url.path().trim_start_matches('/').contains('/') {
        return Err(UNENCODED.to_owned());
    }
    let mut hosts: Vec<String> =
        url.host_str().filter(|host| !host.is_empty()).map(str::to_owned).into_iter().collect();
    for (name, value) in url.query_pairs() {
        let of_options = name.strip_prefix("options[").is_some_and(|rest| rest.ends_with(']'));
        // The driver has these names as well.
        let name = match &*name {
            "ssl-mode" => "sslmode",
            "ssl-root-cert" | "ssl-ca" => "sslrootcert",
            "ssl-cert" => "sslcert",
            "ssl-key" => "sslkey",
            name => name,
        };
        match name {
            "sslmode" if value.parse::<PgSslMode>().is_err() => {
                return Err("sslmode: expected disable, allow, prefer, require, verify-ca or verify-full".to_owned());
            }
            "port" if value.parse::<u16>().is_ok_and(|port| port > 0) => {}
            "port" => return Err("port: expected a number from 1 to 65535".to_owned()),
            "host" | "hostaddr" => hosts.push(value.into_owned()),
            _ if FILES.contains(&name) => check_pem(name, &value)?,
            _ if of_options || PARAMETERS.contains(&name) => {}
            _ => return Err(format!("unknown parameter after the ?: expected {}", PARAMETERS.join(", "))),
        }
    }
    if url.port() == Some(0) {
        return Err("port: expected a number from 1 to 65535".to_owned());
    }
    let from_environment = ["PGHOST", "PGHOSTADDR"].iter().any(|name| std::env::var_os(name).is_some());
    if hosts.is_empty() && !from_environment {
        return Err(NO_HOST.to_owned());
    }
    if hosts.iter().any(|host| host.contains(',')) {
        return Err("it names several hosts: expected one".to_owned());
    }
    text.parse().map_err(|_| format!("a part of it does not make sense; {UNENCODED}"))
}

fn check_pem(name: &str, value: &str) -> Result<(), String> {
    let pem = if value.starts_with("-----BEGIN") {
        value.as_bytes().to_owned()
    } else {
        fs::read(value).map_err(|error| format!("{name}: the file cannot be read: {error}"))?
    };
    match pem::parse_many(pem) {
        Ok(found) if !found.is_empty() => Ok(()),
        _ => Err(format!("{name}: expected a file in PEM")),
    }
}

fn sqlite(text: &str) -> Result<SqliteConnectOptions, String> {
    let options: SqliteConnectOptions = text.parse().map_err(|_| {
        "unknown parameter after the ?: expected mode=rwc, mode=memory, cache=private, cache=shared or vfs".to_owned()
    })?;
    if options.get_filename().as_os_str().is_empty() {
        return Err("it names no file: expected sqlite://folder/file.db".to_owned());
    }
    let query = text.split_once('?').map_or("", |(_, query)| query);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match (&*name, &*value) {
            ("mode", "ro") | ("immutable", "true" | "1") => return Err("the service has to write to it".to_owned()),
            ("vfs", vfs) if !VFS.contains(&vfs) => return Err(format!("vfs: expected {}", VFS.join(", "))),
            _ => {}
        }
    }
    Ok(options)
}
