//! How does an operator list users, however many there are?

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use phonepass::{
    app,
    config::{Config, ListFormat},
    csv_cell,
    model::user::User,
    store::users::Cursor,
};
use serde::Serialize;

use super::{
    CommandError, print,
    users::{printable, time, yes_or_no},
};

/// How many users are in memory at a time.
const PAGE: u32 = 1000;

/// What is told about a user: never the password hash.
#[derive(Serialize)]
struct Row<'a> {
    id: String,
    mobile: &'a str,
    name: Cow<'a, str>,
    status: &'static str,
    has_password: bool,
    created_at: String,
    last_login: String,
}

/// The fields of [`Row`].
const COLUMNS: [&str; 7] = ["id", "mobile", "name", "status", "has_password", "created_at", "last_login"];

/// Prints all users, or those who registered at or after a time.
pub async fn run(
    created_after: Option<DateTime<Utc>>,
    format: ListFormat,
    config: &Config,
) -> Result<(), CommandError> {
    let users = app::open_database(config).await?;
    print(begin(format))?;
    let (mut place, mut first) = (Cursor::start(created_after), true);
    loop {
        let page = users.users_after(place, PAGE).await?;
        let Some(last) = page.last() else { break };
        print(rows(&page, format, first)?)?;
        (place, first) = (place.after(last), false);
    }
    print(if format == ListFormat::Json { "\n]\n" } else { "" })
}

fn begin(format: ListFormat) -> String {
    match format {
        // The name comes last: nobody knows how wide it is.
        ListFormat::Table => format!(
            "{:<36}  {:<11}  {:<8}  {:<8}  {:<20}  {:<20}  NAME\n",
            "ID", "MOBILE", "STATUS", "PASSWORD", "CREATED", "LAST LOGIN"
        ),
        ListFormat::Json => "[".to_owned(),
        ListFormat::Csv => format!("{}\n", COLUMNS.join(",")),
    }
}

fn rows(users: &[User], format: ListFormat, first: bool) -> Result<String, CommandError> {
    let rows = users.iter().map(|user| Row {
        id: user.id.to_string(),
        mobile: user.mobile.as_str(),
        name: user.name.as_str().into(),
        status: user.status.as_str(),
        has_password: user.password_hash.is_some(),
        created_at: time(user.created_at),
        last_login: time(user.last_login),
    });
    let unwritable =
        |error: &dyn std::fmt::Display| CommandError::Refused(format!("a user cannot be written: {error}"));
    match format {
        ListFormat::Table => Ok(rows.map(|row| table_line(&row)).collect()),
        ListFormat::Json => {
            let rows: Vec<_> = rows
                .map(|row| serde_json::to_string(&row))
                .collect::<Result<_, _>>()
                .map_err(|error| unwritable(&error))?;
            Ok(format!("{}\n{}", if first { "" } else { "," }, rows.join(",\n")))
        }
        ListFormat::Csv => {
            let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
            for row in rows {
                // Users choose their names; a spreadsheet must not run them.
                let row = Row { name: csv_cell::neutral(&row.name), ..row };
                writer.serialize(row).map_err(|error| unwritable(&error))?;
            }
            let bytes = writer.into_inner().map_err(|error| unwritable(&error))?;
            String::from_utf8(bytes).map_err(|error| unwritable(&error))
        }
    }
}

fn table_line(row: &Row<'_>) -> String {
    format!(
        "{:<36}  {:<11}  {:<8}  {:<8}  {:<20}  {:<20}  {}\n",
        row.id,
        row.mobile,
        row.status,
        yes_or_no(row.has_password),
        row.created_at,
        row.last_login,
        printable(&row.name)
    )
}
