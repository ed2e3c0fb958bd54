//! The server's folders: who owns them, whether that user can get there, where the socket fits, and the first
//! initialisation, which a crash leaves either undone or whole.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::{Gid, Uid, User, chown, geteuid};
use sha2::{Digest, Sha256};
use tokio::process::Command;

use super::{PORT, Plan, PostgresServerError, system};

/// A Unix socket's path is 107 bytes long at most.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// What the name of a data folder begins with until it is whole.
const UNFINISHED: &str = "data.new";

/// Who the server runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user's name, for messages.
    pub name: String,
    /// The user.
    pub user: u32,
    /// The user's group.
    pub group: u32,
    /// Whether it is another user than this process's.
    pub other: bool,
}

impl Account {
    /// This process's own user, or, when that is root, the owner of the existing data, else `postgres`, else `nobody`.
    ///
    /// # Errors
    /// [`PostgresServerError::NoAccount`] and [`PostgresServerError::ForeignFolder`].
    pub fn choose(data: &Path) -> Result<Account, PostgresServerError> {
        let owner = std::fs::metadata(data).ok().map(|metadata| metadata.uid());
        let me = geteuid();
        let user = if !me.is_root() {
            if let Some(owner) = owner.filter(|owner| *owner != me.as_raw()) {
                return Err(PostgresServerError::ForeignFolder { folder: data.to_owned(), owner });
            }
            User::from_uid(me)
        } else if let Some(owner) = owner.filter(|owner| *owner != 0) {
            User::from_uid(Uid::from_raw(owner))
        } else {
            match User::from_name("postgres") {
                Ok(None) => User::from_name("nobody"),
                other => other,
            }
        };
        match user.ok().flatten() {
            Some(user) => Ok(Account {
                name: user.name,
                user: user.uid.as_raw(),
                group: user.gid.as_raw(),
                other: me.is_root(),
            }),
            // A container may run us as a user without an entry.
            None if !me.is_root() => Ok(Account {
                name: me.to_string(),
                user: me.as_raw(),
                group: nix::unistd::getegid().as_raw(),
                other: false,
            }),
            None => Err(PostgresServerError::NoAccount),
        }
    }

    /// Checks that the user may enter every folder above `folder`.
    ///
    /// # Errors
    /// [`PostgresServerError::NotEnterable`].
    pub fn check_enterable(&self, folder: &Path) -> Result<(), PostgresServerError> {
        if !self.other {
            return Ok(());
        }
        for above in folder.ancestors().skip(1) {
            let metadata = std::fs::metadata(above)
                .map_err(system(format!("looking at {}", above.display())))?;
            let mode = metadata.permissions().mode();
            let allowed = if metadata.uid() == self.user {
                mode & 0o100
            } else if metadata.gid() == self.group {
                mode & 0o010
            } else {
                mode & 0o001
            };
            if allowed == 0 {
                return Err(PostgresServerError::NotEnterable {
                    user: self.name.clone(),
                    blocked: above.to_owned(),
                    folder: folder.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Gives a file or folder to the user.
    ///
    /// # Errors
    /// [`PostgresServerError::System`].
    pub fn own(&self, path: &Path) -> Result<(), PostgresServerError> {
        if !self.other {
            return Ok(());
        }
        chown(path, Some(Uid::from_raw(self.user)), Some(Gid::from_raw(self.group)))
            .map_err(|errno| system(format!("giving {} away", path.display()))(errno.into()))
    }

    /// A command that runs as this user, in `folder`.
    pub(crate) fn command(&self, program: &Path, folder: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(folder).env("LC_ALL", "C").stdin(Stdio::null());
        if self.other {
            // Supplementary groups go with the user: the standard library clears them.
            command.gid(self.group).uid(self.user);
        }
        command
    }
}

/// Takes the folder for this process, for as long as the result lives.
pub(super) fn lock(folder: &Path) -> Result<Flock<File>, PostgresServerError> {
    let path = folder.join("annals.lock");
    let attempt = || format!("locking {}", path.display());
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(system(attempt()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((_, Errno::EWOULDBLOCK)) => {
            Err(PostgresServerError::InUse { folder: folder.to_owned() })
        }
        Err((_, errno)) => Err(system(attempt())(errno.into())),
    }
}

/// The private folder of the socket: beside the data, or, where its path would be too long, under the folder for
/// temporary files, with a name that follows from the data folder.
pub(super) fn socket_folder(
    folder: &Path,
    account: &Account,
) -> Result<PathBuf, PostgresServerError> {
    let fits = |folder: &Path| {
        folder.join(format!(".s.PGSQL.{PORT}")).as_os_str().len() <= SOCKET_PATH_BYTES_MAX
    };
    let beside = folder.join("socket");
    let chosen = if fits(&beside) {
        beside
    } else {
        let digest = Sha256::digest(folder.as_os_str().as_bytes());
        let short = u64::from_be_bytes(digest[..8].try_into().expect("8 of 32 bytes"));
        std::env::temp_dir().join(format!("annals-{short:016x}"))
    };
    let attempt = || format!("making {}", chosen.display());
    match DirBuilder::new().mode(0o700).create(&chosen) {
        Ok(()) => account.own(&chosen)?,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            // Somebody else could have put it there: it must be a folder of our user that nobody else may enter.
            let metadata = std::fs::symlink_metadata(&chosen).map_err(system(attempt()))?;
            let private = metadata.is_dir() && metadata.permissions().mode().trailing_zeros() >= 6;
            if metadata.uid() == 0 && account.other && private {
                account.own(&chosen)?;
            } else if metadata.uid() != account.user || !private {
                let owner = metadata.uid();
                return Err(PostgresServerError::ForeignFolder { folder: chosen, owner });
            }
        }
        Err(error) => return Err(system(attempt())(error)),
    }
    Ok(chosen)
}

/// Removes a socket folder that is not beside the data: nothing else would.
pub(super) fn leave_socket_folder(plan: &Plan) {
    if plan.sockets.parent() != plan.data.parent()
        && let Err(error) = std::fs::remove_dir(&plan.sockets)
    {
        tracing::debug!(%error, folder = %plan.sockets.display(), "the socket folder stays");
    }
}

/// Makes the data folder, where there is none: under another name first, so that it appears whole or not at all. The
/// name is a new one each time, because the `initdb` of a killed predecessor may still be writing to its own.
pub(super) async fn initialise(plan: &Plan) -> Result<(), PostgresServerError> {
    if plan.data.join("PG_VERSION").is_file() {
        return Ok(());
    }
    let fresh = plan.data.with_file_name(format!("{UNFINISHED}{}", uuid::Uuid::new_v4().simple()));
    let attempt = || format!("making {}", fresh.display());
    DirBuilder::new().mode(0o700).create(&fresh).map_err(system(attempt()))?;
    plan.account.own(&fresh)?;
    let output = plan
        .account
        .command(&plan.programs.folder.join("initdb"), &fresh)
        .arg("--pgdata")
        .arg(&fresh)
        .args(["--username", super::NAME, "--auth", "trust", "--encoding", "UTF8"])
        .args(["--locale", "C", "--data-checksums"])
        .output()
        .await
        .map_err(system("starting initdb"))?;
    if !output.status.success() {
        let text = [output.stdout, output.stderr].concat();
        return Err(PostgresServerError::Program {
            program: "initdb",
            status: output.status.to_string(),
            output: last_lines(&String::from_utf8_lossy(&text)),
        });
    }
    std::fs::rename(&fresh, &plan.data).map_err(system(format!("renaming {}", fresh.display())))?;
    let parent = plan.data.parent().unwrap_or(&plan.data);
    remove_unfinished(parent);
    File::open(parent)
        .and_then(|folder| folder.sync_all())
        .map_err(system(format!("syncing {}", parent.display())))
}

/// Removes what killed predecessors left unfinished; what cannot be removed now does no harm.
fn remove_unfinished(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED)
            && let Err(error) = std::fs::remove_dir_all(entry.path())
        {
            tracing::debug!(%error, folder = %entry.path().display(), "an unfinished folder stays");
        }
    }
}

/// The last lines of a program's output.
pub(super) fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
