//! Loads settings from flags and variables; reports all errors together, without secrets.

use std::{ffi::OsString, fmt};

use clap::{CommandFactory, FromArgMatches, parser::ValueSource};

use super::{Cli, values::shown};

/// Everything that is wrong with the settings, a line each.
#[derive(Debug)]
pub struct Problems(pub Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

/// Why there are no settings.
#[derive(Debug)]
pub enum LoadError {
    /// `--help`, `--version` or a flag that does not exist: clap says it best.
    Clap(clap::Error),
    /// Values that are not accepted.
    Problems(Problems),
}

impl From<clap::Error> for LoadError {
    fn from(error: clap::Error) -> Self {
        Self::Clap(error)
    }
}

impl Cli {
    /// Reads flags and environment of this process.
    pub fn from_process() -> Result<Self, LoadError> {
        // An empty variable is the same as none: compose files and .env files have no other way to say so.
        let command = Self::command().mut_args(|arg| {
            let empty = arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
            if empty { arg.env(None::<&str>) } else { arg }
        });
        Self::load(command, std::env::args_os())
    }

    /// Reads flags alone.
    pub fn from_flags<A: Into<OsString> + Clone>(flags: impl IntoIterator<Item = A>) -> Result<Self, LoadError> {
        Self::load(without_environment(Self::command()), flags)
    }

    fn load<A: Into<OsString> + Clone>(
        command: clap::Command,
        flags: impl IntoIterator<Item = A>,
    ) -> Result<Self, LoadError> {
        let command = command.mut_args(|arg| if is_setting(&arg) { arg.global(true) } else { arg });
        let flags: Vec<OsString> = flags.into_iter().map(Into::into).collect();
        let Values { command: named, accepted, mut refused } = try_values(&command, &flags)?;
        let cli = if refused.is_empty() {
            Self::from(command, flags)?
        } else {
            // What is wrong is as if it were not set, so that the rest shows whether it fits together.
            Self::from(without_environment(Self::command()), accepted)?
        };
        let names: Vec<_> = refused.iter().map(|(name, _)| name.clone()).collect();
        let contradictions = match named.as_deref() {
            // The document is printed where secrets of vendors have no business, such as a build.
            Some("openapi") => Vec::new(),
            command => cli.config.contradictions(matches!(command, None | Some("serve"))),
        };
        let told_already = |settings: &[&str]| settings.iter().any(|setting| names.iter().any(|name| name == setting));
        refused.extend(
            contradictions
                .into_iter()
                .filter(|(settings, _)| !told_already(settings))
                .map(|(_, told)| (String::new(), told)),
        );
        if refused.is_empty() {
            return Ok(cli);
        }
        Err(LoadError::Problems(Problems(refused.into_iter().map(|(_, told)| told).collect())))
    }

    fn from(command: clap::Command, flags: Vec<OsString>) -> Result<Self, clap::Error> {
        Self::from_arg_matches(&command.try_get_matches_from(flags)?)
    }
}

fn without_environment(command: clap::Command) -> clap::Command {
    command.mut_args(|arg| arg.env(None::<&str>))
}

fn is_setting(arg: &clap::Arg) -> bool {
    !matches!(arg.get_id().as_str(), "help" | "version")
}

/// The name of a setting as people look for it.
fn variable(arg: &clap::Arg) -> String {
    arg.get_id().as_str().to_ascii_uppercase()
}

/// What the values of settings are worth, each by itself.
struct Values {
    /// The command, if it is named.
    command: Option<String>,
    /// A command line with those that are accepted.
    accepted: Vec<OsString>,
    /// The variables of the others, and what is wrong with them.
    refused: Vec<(String, String)>,
}

/// clap stops at the first value it does not accept. So first every value is taken as a mere string, then each is
/// tried by itself.
fn try_values(command: &clap::Command, flags: &[OsString]) -> Result<Values, clap::Error> {
    let takes_value = |arg: &clap::Arg| is_setting(arg) && arg.get_action().takes_values();
    let strings = command.clone().mut_args(|arg| {
        if takes_value(&arg) { arg.value_parser(clap::value_parser!(OsString)).value_delimiter(None) } else { arg }
    });
    let matches = strings.try_get_matches_from(flags)?;
    let (mut accepted, mut refused) = (vec![OsString::from("phonepass")], Vec::new());
    for arg in command.get_arguments().filter(|arg| takes_value(arg)) {
        let name = arg.get_id().as_str();
        if matches.value_source(name) == Some(ValueSource::DefaultValue) {
            continue;
        }
        let Some(value) = matches.get_one::<OsString>(name) else { continue };
        let mut flag = OsString::from(format!("--{}=", arg.get_long().unwrap_or(name)));
        flag.push(value);
        let alone = clap::Command::new("phonepass").arg(arg.clone().env(None::<&str>));
        match alone.try_get_matches_from([OsString::from("phonepass"), flag.clone()]) {
            Ok(_) => accepted.push(flag),
            Err(error) => {
                let hidden = arg.is_hide_env_values_set();
                let value = if hidden { "(hidden)".to_owned() } else { shown(&value.to_string_lossy()) };
                refused.push((variable(arg), format!("{}={value}: {}", variable(arg), expected(&error, arg))));
            }
        }
    }
    Ok(Values { command: matches.subcommand_name().map(str::to_owned), accepted, refused })
}

/// What would have been accepted.
fn expected(error: &clap::Error, arg: &clap::Arg) -> String {
    let names: Vec<_> = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    match std::error::Error::source(error) {
        _ if !names.is_empty() => format!("expected {}", names.join(", ")),
        Some(reason) => reason.to_string(),
        None => "not accepted".to_owned(),
    }
}
