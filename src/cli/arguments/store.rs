//! The arguments of `annals store`.

use std::path::PathBuf;

use annals_core::Position;
use annals_store::log::Upto;
use clap::{Args, Subcommand};

use super::Shape;
use super::events::{position, time};

#[derive(Debug, Subcommand)]
pub(crate) enum StoreVerb {
    /// Identity, size and end of the log
    #[command(after_help = "Example:  annals store info --json")]
    Info(StoreInfoArguments),
    /// Read the log and check every byte that counts: frames, the hash chain, the index files
    #[command(after_help = "\
Nothing is changed. Exits with 8 where something is damaged; the answer then names file, offset and position.
No other process may have the log open.

Examples:  annals store verify
           annals store verify --from 1000000 --json")]
    Verify(StoreVerifyArguments),
    /// Copy the log to a folder; made again, only what is new is copied
    #[command(after_help = "\
A server may have the log open and take appends meanwhile. What is copied is read back and verified. The answer
says up to which position the backup reaches; everything acknowledged before it was begun is in it.

Example:  annals store backup --to /mnt/backup/shop")]
    Backup(StoreBackupArguments),
    /// Make the log of an empty --data folder of a backup, whole or up to a position or a time
    #[command(after_help = "\
The whole backup is verified before anything is written. The log ends with the batch of appends that holds the last
event wanted, since an append is never divided.

Examples:  annals store restore --from /mnt/backup/shop --data ./restored
           annals store restore --from /mnt/backup/shop --data ./tuesday --to 2018-01-02T00:00:00Z")]
    Restore(StoreRestoreArguments),
    /// Copy the events of one store into another: of a data folder, or of a server by its esdb:// address
    #[command(after_help = "\
Only what the target lacks is appended: a copy that was stopped goes on where it was, and made again it brings what is
new. Each stream's events are compared on both sides at the end. Positions and times are the target's own. A server's
own streams ($…) stay behind, but for the metadata of streams ($$…), which is copied last.

Examples:  annals store copy ./shop esdb://127.0.0.1:2113?tls=false
           annals store copy esdb://127.0.0.1:2113?tls=false ./shop --json")]
    Copy(StoreCopyArguments),
    /// Put a backup's bytes in the place of damaged ones
    #[command(after_help = "\
Only where the hash chain proves that they are what stood there; else nothing is changed, and the answer says what
would be lost. What is replaced is kept beside it, as `.damaged`. No other process may have the log open.

Example:  annals store repair --from /mnt/backup/shop")]
    Repair(StoreRepairArguments),
}

#[derive(Debug, Args)]
pub(crate) struct StoreInfoArguments {
    #[command(flatten)]
    pub(crate) shape: Shape,
}

#[derive(Debug, Args)]
pub(crate) struct StoreVerifyArguments {
    /// Only the segments from the one that holds this position on
    #[arg(long, value_name = "POSITION", value_parser = position)]
    pub(crate) from: Option<Position>,
    /// Only the segments up to the one that holds this position
    #[arg(long, value_name = "POSITION", value_parser = position)]
    pub(crate) to: Option<Position>,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

#[derive(Debug, Args)]
pub(crate) struct StoreBackupArguments {
    /// The folder of the backup; it is made where there is none
    #[arg(long, value_name = "FOLDER")]
    pub(crate) to: PathBuf,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

#[derive(Debug, Args)]
pub(crate) struct StoreRestoreArguments {
    /// The folder of the backup
    #[arg(long, value_name = "FOLDER")]
    pub(crate) from: PathBuf,
    /// The last position wanted, or a time in RFC 3339; everything where it is not said
    #[arg(long, value_name = "POSITION|TIME", value_parser = upto)]
    pub(crate) to: Option<Upto>,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

#[derive(Debug, Args)]
pub(crate) struct StoreCopyArguments {
    /// The store to copy: a data folder, or esdb://HOST:PORT
    pub(crate) from: String,
    /// The store to copy it into; a data folder is made where there is none
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

#[derive(Debug, Args)]
pub(crate) struct StoreRepairArguments {
    /// The folder of the backup
    #[arg(long, value_name = "FOLDER")]
    pub(crate) from: PathBuf,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

fn upto(text: &str) -> Result<Upto, &'static str> {
    if let Ok(position) = position(text) {
        return Ok(Upto::Position(position));
    }
    let right =
        "right would be a position, such as 120000, or a time, such as 2018-01-01T00:00:00Z";
    time(text).map(Upto::Time).map_err(|_| right)
}
