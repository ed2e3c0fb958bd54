//! Makes the engine's memory of inserts agree with what was inserted, before it starts.
//!
//! ClickHouse notes an insert's token in the table's deduplication log first and gives the part its name after that
//! (`MergeTreeSink`, up to 26.7 at least). Killed between the two, it would later take a repetition of that insert for a
//! duplicate and answer that all is well, though its rows are nowhere. So a note whose part is not in the table's folder, alone or
//! merged into a larger one, is taken out. The log is text: operation (1 added, 2 dropped), part, token hash, by tabs.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

const LOGS: &str = "deduplication_logs";
const ADDED: &str = "1";

/// Takes such notes out of the logs of all tables under the engine's folder `data`; answers how many. The engine must
/// not be running.
///
/// # Errors
/// The file system's.
pub(crate) fn forget_unfinished_inserts(data: &Path) -> io::Result<usize> {
    let mut forgotten = 0;
    // store/<three digits>/<uuid of a table>/
    for group in folders(&data.join("store"))? {
        for table in folders(&group)? {
            if table.join(LOGS).is_dir() {
                forgotten += forget_in_table(&table)?;
            }
        }
    }
    Ok(forgotten)
}

fn folders(parent: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    let entries = match fs::read_dir(parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut folders = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    Ok(folders)
}

/// The blocks of a partition that a part holds.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    partition: String,
    first: u64,
    last: u64,
}

impl Part {
    /// Reads `partition_first_last_level` or `…_level_mutation`; nothing where it is no part's name, but that of a
    /// temporary folder, say.
    fn parse(name: &str) -> Option<Part> {
        let mut fields = name.split('_');
        let partition = fields.next().filter(|partition| !partition.is_empty())?.to_owned();
        let numbers = fields.map(|field| field.parse().ok()).collect::<Option<Vec<u64>>>()?;
        match numbers[..] {
            [first, last, _level] | [first, last, _level, _] => {
                Some(Part { partition, first, last })
            }
            _ => None,
        }
    }

    fn covers(&self, other: &Part) -> bool {
        self.partition == other.partition && self.first <= other.first && other.last <= self.last
    }
}

fn forget_in_table(table: &Path) -> io::Result<usize> {
    let names = folders(table)?;
    let names = names.iter().filter_map(|path| path.file_name()?.to_str());
    let parts: Vec<_> = names.filter_map(Part::parse).collect();
    let mut forgotten = 0;
    for entry in fs::read_dir(table.join(LOGS))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            forgotten += forget_in_log(&path, &parts)?;
        }
    }
    Ok(forgotten)
}

fn forget_in_log(path: &Path, parts: &[Part]) -> io::Result<usize> {
    let text = fs::read_to_string(path)?;
    let finished = |line: &&str| {
        let mut fields = line.split('\t');
        match (fields.next(), fields.next().map(Part::parse)) {
            // A line that was cut off stands for no insert either.
            (Some(ADDED), Some(part)) => {
                fields.next().is_some()
                    && line.ends_with('\n')
                    && part.is_some_and(|part| parts.iter().any(|stored| stored.covers(&part)))
            }
            _ => line.ends_with('\n'),
        }
    };
    let kept: String = text.split_inclusive('\n').filter(finished).collect();
    let forgotten = text.lines().count() - kept.lines().count();
    if forgotten > 0 {
        let unfinished = path.with_extension("new");
        let mut file = fs::File::create(&unfinished)?;
        file.write_all(kept.as_bytes())?;
        file.sync_data()?;
        fs::rename(&unfinished, path)?;
    }
    Ok(forgotten)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_notes_whose_part_is_there_are_kept() {
        let data = tempfile::tempdir().expect("a folder");
        let table = data.path().join("store/0ab/0ab12345-0000-0000-0000-000000000000");
        for folder in ["all_1_4_1", "all_6_6_0_7", "tmp_insert_all_8_8_0", "detached", LOGS] {
            fs::create_dir_all(table.join(folder)).expect("made");
        }
        let log = table.join(LOGS).join("deduplication_log_1.txt");
        let lines = "1\tall_2_2_0\ta\n1\tall_5_5_0\tb\n2\tall_5_5_0\tc\n1\tall_6_6_0\td\n1\tall_8_8_0\te\n1\tother_2_2_0\tf\n1\tall_3_3";
        fs::write(&log, lines).expect("written");
        assert_eq!(forget_unfinished_inserts(data.path()).expect("read"), 4);
        let kept = fs::read_to_string(&log).expect("it is there");
        assert_eq!(kept, "1\tall_2_2_0\ta\n2\tall_5_5_0\tc\n1\tall_6_6_0\td\n");
        assert_eq!(forget_unfinished_inserts(data.path()).expect("read"), 0);
    }

    #[test]
    fn a_folder_without_tables_has_nothing_to_forget() {
        let data = tempfile::tempdir().expect("a folder");
        assert_eq!(forget_unfinished_inserts(data.path()).expect("read"), 0);
    }
}
