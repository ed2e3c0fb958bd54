//! Where libchdb lies on this machine. It is fetched by a script and never shipped with Annals: it is half a
//! gigabyte, and its licence is its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use annals_core::Family;

/// The version of the npm package that Annals is tested with. Older ones lack the streaming insert, and the other
/// insert path silently loses binary rows.
pub const VERSION: &str = "26.7.3-stable.1";

/// The environment variable that names the library's file.
pub const FILE_VARIABLE: &str = "ANNALS_LIBCHDB";

/// The environment variable that names the cache folder.
pub const CACHE_VARIABLE: &str = "ANNALS_CACHE";

/// Why libchdb was not found.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// The file that the environment variable names is not there.
    #[error("the library {file} named by {FILE_VARIABLE} is not a file")]
    Named {
        /// The file that was named.
        file: PathBuf,
    },
    /// It is not in the cache folder; the command fetches it.
    #[error(
        "libchdb {VERSION} is not at {file}: fetch it once with `{}`, or name a file in {FILE_VARIABLE}, \
         or set CLICKHOUSE_URL to use a ClickHouse server",
        fetch_command(cache)
    )]
    Absent {
        /// Where it was expected.
        file: PathBuf,
        /// The cache folder, which the command is given.
        cache: PathBuf,
    },
    /// Neither variable is set, and there is no home folder to look in.
    #[error("no place to look for libchdb: set {FILE_VARIABLE}, {CACHE_VARIABLE} or HOME")]
    Nowhere,
}

impl LibraryError {
    /// The family of the error.
    pub fn family(&self) -> Family {
        match self {
            Self::Named { .. } | Self::Nowhere => Family::Malformed,
            Self::Absent { .. } => Family::NotFound,
        }
    }
}

/// The exact command that fetches the library into a cache folder, run at the root of the repository.
pub fn fetch_command(cache: &Path) -> String {
    let folder = cache.display().to_string().replace('\'', r"'\''");
    format!("scripts/fetch-libchdb.sh '{folder}'")
}

/// The library's file in a cache folder.
pub fn in_cache(cache: &Path) -> PathBuf {
    cache.join(format!("libchdb-{VERSION}")).join("libchdb.so")
}

/// The library's file: the one named by `ANNALS_LIBCHDB`, else the pinned one in `ANNALS_CACHE`, else the one in
/// `~/.cache/annals`.
pub fn find() -> Result<PathBuf, LibraryError> {
    find_by(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
}

fn find_by(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, LibraryError> {
    if let Some(file) = variable(FILE_VARIABLE).map(PathBuf::from) {
        return if file.is_file() { Ok(file) } else { Err(LibraryError::Named { file }) };
    }
    let cache = match (variable(CACHE_VARIABLE), variable("HOME")) {
        (Some(cache), _) => PathBuf::from(cache),
        (None, Some(home)) => PathBuf::from(home).join(".cache").join("annals"),
        (None, None) => return Err(LibraryError::Nowhere),
    };
    let file = in_cache(&cache);
    if file.is_file() { Ok(file) } else { Err(LibraryError::Absent { file, cache }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find_with(variables: &[(&str, &Path)]) -> Result<PathBuf, LibraryError> {
        find_by(|name| {
            variables
                .iter()
                .find(|(variable, _)| *variable == name)
                .map(|(_, value)| value.as_os_str().to_owned())
        })
    }

    #[test]
    fn a_named_file_comes_first_and_must_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("engine.so");
        let absent = find_with(&[(FILE_VARIABLE, &file), ("HOME", folder.path())]).unwrap_err();
        assert!(matches!(absent, LibraryError::Named { .. }), "{absent}");
        std::fs::write(&file, b"").unwrap();
        assert_eq!(find_with(&[(FILE_VARIABLE, &file)]).unwrap(), file);
    }

    #[test]
    fn an_absent_library_is_answered_with_the_command_that_fetches_it() {
        let folder = tempfile::tempdir().unwrap();
        let absent = find_with(&[(CACHE_VARIABLE, folder.path())]).unwrap_err();
        let command = format!("scripts/fetch-libchdb.sh '{}'", folder.path().display());
        assert!(absent.to_string().contains(&command), "{absent}");
        assert_eq!(absent.family(), Family::NotFound);
        let file = in_cache(folder.path());
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, b"").unwrap();
        assert_eq!(find_with(&[(CACHE_VARIABLE, folder.path())]).unwrap(), file);
    }

    #[test]
    fn the_home_folder_is_the_last_place() {
        let folder = tempfile::tempdir().unwrap();
        let absent = find_with(&[("HOME", folder.path())]).unwrap_err();
        assert!(absent.to_string().contains(".cache/annals"), "{absent}");
        assert!(matches!(find_with(&[]).unwrap_err(), LibraryError::Nowhere));
    }
}
