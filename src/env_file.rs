//! The `.env` file: dotenvy's rules for quotes and comments, but a `$` stands for itself, as passwords have some.

use std::{fs, io, path::Path};

/// Sets the variables of a file, unless they are set already. A file that is not there has none.
///
/// # Errors
/// What is wrong with each line that cannot be read: file, number and variable, never the value.
pub fn load(path: &Path) -> Result<(), Vec<String>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(vec![format!("{}: {error}", path.display())]),
    };
    let entries = entries(&bytes);
    let problems = entries.iter().filter_map(|entry| {
        let problem = entry.problem()?;
        let variable = entry.variable().map_or_else(String::new, |name| format!("{name}: "));
        Some(format!("{}:{}: {variable}{problem}", path.display(), entry.line))
    });
    let problems: Vec<_> = problems.collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    // None of it can be wrong any more.
    dotenvy::from_read(text_of(entries).as_bytes()).map_err(|_| vec![format!("{}: cannot be read", path.display())])
}

/// A whole file in dotenvy's own terms.
pub fn as_dotenvy_takes_it(text: &str) -> String {
    text_of(entries(text.as_bytes()))
}

fn text_of(entries: Vec<Entry>) -> String {
    entries.into_iter().map(|entry| entry.text).collect()
}

/// A line, or several of them where a quote is open, as dotenvy takes it.
#[derive(Debug, Default)]
struct Entry {
    /// Where it begins.
    line: usize,
    text: String,
    is_text: bool,
    /// A backslash stands before the end of the line: dotenvy would drop it.
    dangling: bool,
}

impl Entry {
    fn problem(&self) -> Option<&'static str> {
        if !self.is_text {
            return Some("not in UTF-8");
        }
        if self.text.contains('\0') {
            return Some("a variable holds no NUL");
        }
        let unread = self.dangling || dotenvy::from_read_iter(self.text.as_bytes()).any(|entry| entry.is_err());
        unread.then_some("expected NAME=value; a value with blanks, quotes, # or \\ in single quotes")
    }

    /// The name before the equals sign. Text that is no name may be a piece of a value.
    fn variable(&self) -> Option<&str> {
        let name = self.text.split_once('=')?.0.trim();
        let name = name.strip_prefix("export").map_or(name, str::trim_start);
        let is_name = name.starts_with(|first: char| first.is_ascii_uppercase())
            && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
        is_name.then_some(name)
    }
}

/// Where a character stands.
#[derive(Clone, Copy)]
enum Place {
    /// Outside of quotes; after a blank, a `#` begins a comment.
    Bare { after_blank: bool },
    /// In single quotes, where every character is itself.
    Single,
    /// In double quotes.
    Double,
    /// Behind a backslash, in double quotes or outside of any.
    Escaped { quoted: bool },
    /// Behind a `#`.
    Comment,
}

impl Place {
    /// Where the next character stands, and how dotenvy takes this one. To dotenvy all quotes are double ones: in
    /// single ones it minds backslashes where it looks for the end of a line, and nowhere else.
    fn read(self, character: char) -> (Self, String) {
        let (itself, escaped) = (character.to_string(), format!("\\{character}"));
        let bare = Self::Bare { after_blank: character.is_whitespace() };
        match (self, character) {
            (Self::Single, '\'') => (Self::Bare { after_blank: false }, "\"".to_owned()),
            (Self::Single, '\\' | '"' | '$') => (self, escaped),
            (Self::Double, '"') => (bare, itself),
            (Self::Bare { .. }, '\'') => (Self::Single, "\"".to_owned()),
            (Self::Bare { .. }, '"') => (Self::Double, itself),
            (Self::Bare { after_blank: true }, '#') => (Self::Comment, itself),
            (Self::Bare { .. } | Self::Double, '\\') => {
                (Self::Escaped { quoted: matches!(self, Self::Double) }, itself)
            }
            (Self::Bare { .. }, '$') => (bare, escaped),
            (Self::Double, '$') => (self, escaped),
            (Self::Bare { .. }, _) => (bare, itself),
            (Self::Escaped { quoted: true }, _) => (Self::Double, itself),
            (Self::Escaped { quoted: false }, _) => (Self::Bare { after_blank: false }, itself),
            (Self::Single | Self::Double | Self::Comment, _) => (self, itself),
        }
    }
}

fn entries(bytes: &[u8]) -> Vec<Entry> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let mut entries = Vec::new();
    let mut entry = None;
    let mut place = Place::Bare { after_blank: true };
    for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let current: &mut Entry =
            entry.get_or_insert_with(|| Entry { line: index + 1, is_text: true, ..Entry::default() });
        current.is_text &= str::from_utf8(line).is_ok();
        for character in String::from_utf8_lossy(line).trim_end_matches(['\n', '\r']).chars() {
            let (next, text) = place.read(character);
            current.text += &text;
            place = next;
        }
        current.dangling |= matches!(place, Place::Escaped { .. });
        current.text.push('\n');
        if !matches!(place, Place::Single | Place::Double) {
            entries.extend(entry.take());
            place = Place::Bare { after_blank: true };
        }
    }
    // A quote that is never closed.
    entries.extend(entry);
    entries
}
