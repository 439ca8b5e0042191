//! How does an operator take over the users of another service?

use std::{
    fmt::{self, Display},
    fs::{self, File},
    io,
    path::Path,
    sync::Arc,
};

use csv::{ByteRecord, Reader, ReaderBuilder, Terminator};
use indicatif::{ProgressBar, ProgressStyle};
use phonepass::{
    app,
    auth::{
        event::{self, Event, Subject},
        import::Columns,
    },
    clock::Clock,
    config::Config,
    model::user::ImportedUser,
    store::users::UserStore,
};

use super::{CommandError, lines::Lines, print, tell};

/// How many users go into the database in one statement.
const BATCH: usize = 1000;

/// Imports the good lines of a file and tells about the bad ones. Users who are there already are left alone, so that
/// an import that was interrupted is finished by running it again.
pub async fn run(path: &Path, config: &Config) -> Result<(), CommandError> {
    let unusable = |reason: &dyn Display| CommandError::Refused(format!("{}: {reason}", path.display()));
    let (input, length) = open(path).map_err(|error| unusable(&error))?;
    // Without a terminator of its own, the reader counts a CR LF only with the line after it.
    let mut reader = ReaderBuilder::new().flexible(true).terminator(Terminator::Any(b'\n')).from_reader(input);
    let header = reader.byte_headers().map_err(|error| unusable(&error))?;
    let columns = Columns::from_header(header).map_err(|error| unusable(&error))?;

    let mut import = Import::into(app::open_database(config).await?);
    let bar = progress_bar(length);
    let mut record = ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(|error| unusable(&error))? {
        match columns.user(&record, import.clock.now()) {
            _ if is_blank(&record) => {}
            Ok(user) => import.add(user).await?,
            Err(reason) => {
                import.refused += 1;
                bar.suspend(|| tell(format_args!("line {}: {reason}\n", line_number(&reader, &record))));
            }
        }
        bar.set_position(reader.position().byte());
    }
    import.flush().await?;
    bar.finish_and_clear();
    print(format_args!("{import}\n"))?;
    if import.is_useless() { Err(unusable(&"no line could be imported")) } else { Ok(()) }
}

/// A file, or standard input, and how many bytes it has if that is known.
fn open(path: &Path) -> io::Result<(Lines, Option<u64>)> {
    if path == Path::new("-") {
        return Ok((Lines::of(Box::new(io::stdin()))?, None));
    }
    let file = File::open(path)?;
    let length = file.metadata().ok().filter(fs::Metadata::is_file).map(|file| file.len());
    Ok((Lines::of(Box::new(file))?, length))
}

/// Seen on a terminal only.
fn progress_bar(length: Option<u64>) -> ProgressBar {
    let (bar, template) = match length {
        Some(length) => (ProgressBar::new(length), "{bar:40} {percent}% of {total_bytes}, {eta} left"),
        None => (ProgressBar::no_length(), "{spinner} {bytes}"),
    };
    bar.with_style(ProgressStyle::with_template(template).expect("a valid template"))
}

fn is_blank(record: &ByteRecord) -> bool {
    record.len() == 1 && record.iter().all(|field| field.trim_ascii().is_empty())
}

/// The line on which a record begins. The reader's own answer is where it began to look, blank lines before included.
fn line_number(reader: &Reader<Lines>, record: &ByteRecord) -> u64 {
    let within: usize = record.iter().map(|field| field.iter().filter(|byte| **byte == b'\n').count()).sum();
    // The reader looks for the end of the file only if no line break ends the record.
    let at_end = u64::from(!reader.get_ref().ended());
    reader.position().line().saturating_sub(within as u64 + at_end)
}

/// What is on its way into the database, and what became of the rest.
struct Import {
    users: Arc<dyn UserStore>,
    clock: Clock,
    batch: Vec<ImportedUser>,
    imported: u64,
    already_there: u64,
    refused: u64,
}

impl Import {
    fn into(users: Arc<dyn UserStore>) -> Self {
        Self { users, clock: Clock::system(), batch: Vec::new(), imported: 0, already_there: 0, refused: 0 }
    }

    /// Were there lines, and not a good one among them?
    fn is_useless(&self) -> bool {
        self.refused > 0 && self.imported + self.already_there == 0
    }

    async fn add(&mut self, user: ImportedUser) -> Result<(), CommandError> {
        self.batch.push(user);
        if self.batch.len() < BATCH { Ok(()) } else { self.flush().await }
    }

    async fn flush(&mut self) -> Result<(), CommandError> {
        let imported = self.users.import_users(&self.batch, self.clock.now()).await.map_err(|error| {
            CommandError::Refused(format!("{error}\nSo far: {self}. Run it again to go on: nobody is imported twice."))
        })?;
        self.imported += imported;
        self.already_there += self.batch.len() as u64 - imported;
        self.batch.clear();
        Ok(())
    }
}

/// However an import ends, what came of it is on record.
impl Drop for Import {
    fn drop(&mut self) {
        if self.imported > 0 {
            let count = usize::try_from(self.imported).ok();
            event::record_by_operator(Event::UsersImported, Subject { count, ..Subject::default() });
        }
    }
}

impl Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "imported {}, already there {}, refused {}", self.imported, self.already_there, self.refused)
    }
}
