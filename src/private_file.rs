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

/// Creates a folder, and those above it, with mode 0700 where it does not exist.
pub fn create_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    if path.as_os_str().is_empty() { Ok(()) } else { builder.create(path) }
}
