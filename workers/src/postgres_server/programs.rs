//! Finding the PostgreSQL server programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::PostgresServerError;

/// A folder with `initdb` and `postgres`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// The folder.
    pub folder: PathBuf,
    /// The major version, such as `15`.
    pub version: String,
}

impl Programs {
    /// The programs in `given`; else in the folder that `ANNALS_PG_BIN` names; else the ones that fit the data folder,
    /// or the newest, of those on the `PATH` and in the places where distributions put them.
    ///
    /// # Errors
    /// [`PostgresServerError::NotInstalled`] and [`PostgresServerError::WrongVersion`].
    pub fn find(given: Option<&Path>, data: &Path) -> Result<Programs, PostgresServerError> {
        let named = given.map(Path::to_owned).or_else(|| {
            std::env::var_os("ANNALS_PG_BIN").filter(|v| !v.is_empty()).map(PathBuf::from)
        });
        let folders = named.map_or_else(usual_folders, |folder| vec![folder]);
        let mut found: Vec<_> = folders.iter().filter_map(|folder| programs_in(folder)).collect();
        let wanted = std::fs::read_to_string(data.join("PG_VERSION")).ok();
        let wanted = wanted.as_deref().map(str::trim);
        let number = |programs: &Programs| programs.version.parse::<u32>().unwrap_or(0);
        found.sort_by_key(|programs| std::cmp::Reverse(number(programs)));
        let Some(newest) = found.first().cloned() else {
            let searched: Vec<_> = folders.iter().map(|f| f.display().to_string()).collect();
            return Err(PostgresServerError::NotInstalled { searched: searched.join(", ") });
        };
        match wanted {
            None => Ok(newest),
            Some(wanted) => found.into_iter().find(|p| p.version == wanted).ok_or_else(|| {
                PostgresServerError::WrongVersion {
                    folder: data.to_owned(),
                    wanted: wanted.to_owned(),
                    found: newest.version,
                }
            }),
        }
    }
}

fn usual_folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        std::env::var_os("PATH").iter().flat_map(std::env::split_paths).collect();
    for (parent, below) in [
        ("/usr/lib/postgresql", "bin"),
        ("/usr/local/opt", "bin"),
        ("/opt/homebrew/opt", "bin"),
        ("/Library/PostgreSQL", "bin"),
    ] {
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        folders.extend(entries.map(|entry| entry.path().join(below)));
    }
    let entries = std::fs::read_dir("/usr").into_iter().flatten().flatten();
    folders.extend(
        entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("pgsql"))
            .map(|entry| entry.path().join("bin")),
    );
    folders.retain(|folder| folder.join("postgres").is_file());
    folders
}

fn programs_in(folder: &Path) -> Option<Programs> {
    if !folder.join("initdb").is_file() {
        return None;
    }
    let output = Command::new(folder.join("postgres")).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    // `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`
    let version = text.split_whitespace().nth(2)?;
    let major = version.split(|c: char| !c.is_ascii_digit()).next()?;
    Some(Programs { folder: folder.to_owned(), version: major.to_owned() })
}
