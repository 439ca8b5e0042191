//! What does a line of an import file say?

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, SubsecRound, Utc};
use csv::ByteRecord;

use super::password_hash::{StoredHash, UnusableHash};
use crate::{
    csv_cell,
    model::{
        mobile::Mobile,
        user::{ImportedUser, MAX_NAME_LENGTH, parse_name},
    },
};

/// What is wrong with a line, or with the first one, which names the columns. Quotes nothing of it: a line has a hash
/// and a number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each says itself what it means")]
pub enum ImportError {
    #[error(
        "the file is UTF-16, not UTF-8: save it as CSV UTF-8, or convert it with `iconv -f UTF-16 -t UTF-8` (UTF-16LE or \
         UTF-16BE where it has no byte order mark)"
    )]
    Utf16,
    #[error("the file is an Excel workbook: save it as CSV UTF-8")]
    Workbook,
    #[error("{0}s separate the columns, not commas: convert the file with `mlr --csv --ifs {0} --ofs comma cat`")]
    Separator(&'static str),
    #[error("the first line must name the columns, and {0} must be one of them")]
    NoColumn(&'static str),
    #[error("the first line names {0} twice")]
    ColumnTwice(&'static str),
    #[error("has {0} fields instead of {1}")]
    FieldCount(usize, usize),
    #[error("{0} is not UTF-8")]
    NotUtf8(&'static str),
    #[error("mobile is not a mobile number of mainland China")]
    Mobile,
    #[error("name must have 1 to {MAX_NAME_LENGTH} characters, none of them a control character")]
    Name,
    #[error("password_hash {0}")]
    PasswordHash(UnusableHash),
    #[error("created_at {0}")]
    CreatedAt(&'static str),
}

/// How databases write that there is nothing. Not in other spellings: Null is a name, too.
const NONE: [&str; 3] = ["NULL", "null", r"\N"];

/// What separates columns in files that are called CSV all the same, by the names that Miller has for it.
const SEPARATORS: [(u8, &str); 3] = [(b';', "semicolon"), (b'\t', "tab"), (b'|', "pipe")];

/// Where in a line things are.
#[derive(Clone, Debug)]
pub struct Columns {
    count: usize,
    mobile: usize,
    name: Option<usize>,
    password_hash: Option<usize>,
    created_at: Option<usize>,
}

impl Columns {
    /// Reads the first line of a file.
    pub fn from_header(header: &ByteRecord) -> Result<Self, ImportError> {
        // No CSV file in UTF-8 begins like these.
        match header.get(0).unwrap_or_default() {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, ..] | [_, 0, ..] => return Err(ImportError::Utf16),
            [b'P', b'K', 3, 4, ..] => return Err(ImportError::Workbook),
            _ => {}
        }
        let find = |name: &'static str| {
            let is_named = |column: &[u8]| is_column(column, name);
            let mut found = header.iter().enumerate().filter(|(_, column)| is_named(column)).map(|(place, _)| place);
            match (found.next(), found.next()) {
                (place, None) => Ok(place),
                (_, Some(_)) => Err(ImportError::ColumnTwice(name)),
            }
        };
        Ok(Self {
            count: header.len(),
            mobile: find("mobile")?.ok_or_else(|| no_column(header, "mobile"))?,
            name: find("name")?,
            password_hash: find("password_hash")?,
            created_at: find("created_at")?,
        })
    }

    /// The user that a line is about. A missing name is the mobile, a missing time is now.
    pub fn user(&self, line: &ByteRecord, now: DateTime<Utc>) -> Result<ImportedUser, ImportError> {
        // A comma too many would else make a name of a hash.
        if line.len() != self.count {
            return Err(ImportError::FieldCount(line.len(), self.count));
        }
        let text = |column: Option<usize>, name| {
            let field = column.and_then(|column| line.get(column)).unwrap_or_default();
            let text = std::str::from_utf8(field).map(str::trim).map_err(|_| ImportError::NotUtf8(name))?;
            Ok(if NONE.contains(&text) { "" } else { text })
        };
        let mobile = Mobile::parse(text(Some(self.mobile), "mobile")?).ok_or(ImportError::Mobile)?;
        // `users list` writes names so that no spreadsheet runs them.
        let name = match csv_cell::original(text(self.name, "name")?) {
            "" => mobile.as_str().to_owned(),
            name => parse_name(name).ok_or(ImportError::Name)?,
        };
        // Django marks users without a password by an exclamation mark.
        let password_hash = match text(self.password_hash, "password_hash")? {
            hash if hash.is_empty() || hash.starts_with('!') => None,
            hash => Some(StoredHash::parse(hash).map(|_| hash.to_owned()).map_err(ImportError::PasswordHash)?),
        };
        let created_at = match text(self.created_at, "created_at")? {
            "" => now,
            time => created_at(time, now).map_err(ImportError::CreatedAt)?,
        };
        Ok(ImportedUser { mobile, name, password_hash, created_at })
    }
}

fn is_column(column: &[u8], name: &str) -> bool {
    column.trim_ascii().eq_ignore_ascii_case(name.as_bytes())
}

/// Why there is no such column: perhaps it is there, but not between commas.
fn no_column(header: &ByteRecord, name: &'static str) -> ImportError {
    let is_between = |separator: u8| {
        let joined = header.iter().filter(|column| column.contains(&separator));
        joined
            .flat_map(|column| column.split(move |byte| *byte == separator || *byte == b'"'))
            .any(|column| is_column(column, name))
    };
    let separator = SEPARATORS.into_iter().find(|(separator, _)| is_between(*separator));
    separator.map_or(ImportError::NoColumn(name), |(_, separator)| ImportError::Separator(separator))
}

fn created_at(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, &'static str> {
    match parse_time(text).ok_or("is not a time such as 2026-01-31T12:00:00Z")? {
        time if time > now => Err("lies in the future"),
        time if time < DateTime::UNIX_EPOCH => Err("lies before 1970"),
        time => Ok(time),
    }
}

/// Reads a time as people and databases write it: RFC 3339 (which allows `t` and `z`), with a space for the `T`, without
/// an offset (UTC), or a date alone (midnight, UTC). To the microsecond, which is what every database keeps.
pub fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    // chrono reads as many digits as there are.
    if text.len() > 40 {
        return None;
    }
    let text = &text.to_ascii_uppercase();
    let with_offset = ["%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z"];
    let without_offset = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"];
    let time = with_offset.iter().find_map(|format| DateTime::parse_from_str(text, format).ok());
    let time = time.map(|time| time.to_utc());
    let time = time
        .or_else(|| {
            let time = without_offset.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())?;
            Some(time.and_utc())
        })
        .or_else(|| Some(NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_time(NaiveTime::MIN).and_utc()));
    time.map(|time| time.trunc_subsecs(6))
}
