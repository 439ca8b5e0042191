//! How is a secret written so that only its owner reads it, and nobody ever sees half of it?

use std::{fs, io, io::Write, path::Path};

/// Creates a file with mode 0600 and its folder with mode 0700; fails if the file exists.
///
/// The file appears under its name only once it is whole and on the disk.
pub fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    create_directory(directory)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    Ok(())
}

/// Reads a file; creates it, as [`create`] does, only if there is none. Of several that do so at once all read the
/// same.
pub fn read_or_create(path: &Path, content: impl FnOnce() -> Vec<u8>) -> io::Result<String> {
    let existing = fs::read_to_string(path);
    if !existing.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return existing;
    }
    match create(path, &content()) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => fs::read_to_string(path),
    }
}

/// Creates a folder, and those above it, with mode 0700 where it does not exist.
fn create_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    if path.as_os_str().is_empty() { Ok(()) } else { builder.create(path) }
}
