//! The operator who runs a command.

/// How much of a login is kept.
const LENGTH: usize = 64;

/// `operator:` and the login of the effective user, or its number if it has none.
pub fn actor() -> String {
    let login = uzers::get_effective_username().map(|login| login.to_string_lossy().into_owned());
    let login = login.unwrap_or_else(|| uzers::get_effective_uid().to_string());
    format!("operator:{}", login.chars().take(LENGTH).collect::<String>())
}
