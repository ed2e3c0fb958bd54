//! The simulated disk keeps and loses what it says.

use super::*;

fn disk_with_file(seed: u64) -> (SimulatedDisk, Arc<dyn DiskFile>) {
    let disk = SimulatedDisk::new(seed);
    disk.create_directory(Path::new("d")).unwrap();
    let file = disk.create(Path::new("d/f")).unwrap();
    file.write_at(&[1; 1024], 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_directory(Path::new("d")).unwrap();
    (disk, file)
}

#[test]
fn a_power_cut_keeps_what_was_synced_and_may_take_the_rest_sector_by_sector() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..64 {
        let (disk, file) = disk_with_file(seed);
        file.write_at(&[2; 1024], 512).unwrap();
        let after = disk.crash(Survival::Random).contents("d/f").unwrap();
        assert_eq!(after[..512], [1; 512], "what was synced and not written again");
        let middle = after[512];
        assert!(after[512..1024].iter().all(|byte| *byte == middle), "sectors are whole");
        outcomes.insert((middle, after.get(1024).copied()));
    }
    assert!(outcomes.len() >= 3, "both sectors come and go on their own: {outcomes:?}");
    assert!(outcomes.contains(&(1, Some(2))), "reordered: {outcomes:?}");
}

#[test]
fn an_unsynced_name_may_vanish_and_a_synced_one_stays() {
    let (disk, _file) = disk_with_file(1);
    disk.create(Path::new("d/new")).unwrap();
    let after = disk.crash(Survival::Nothing);
    assert_eq!(after.paths(), [PathBuf::from("d/f")]);
}

#[test]
fn a_failed_sync_drops_bytes_that_the_cache_goes_on_to_show() {
    let lost = (0..32).any(|seed| {
        let (disk, file) = disk_with_file(seed);
        file.write_at(&[3; 512], 0).unwrap();
        disk.fail_operation(disk.operations() + 1, Fault::Once);
        file.sync_data().unwrap_err();
        file.sync_data().unwrap();
        assert_eq!(disk.contents("d/f").unwrap()[0], 3, "the cache shows it");
        file.forget_cache().unwrap();
        disk.contents("d/f").unwrap()[0] == 1
    });
    assert!(lost, "some seed loses the write");
}

#[test]
fn a_full_disk_refuses_growth_and_recovers() {
    let (disk, file) = disk_with_file(1);
    disk.set_capacity(Some(1500));
    assert_eq!(file.allocate(2000).unwrap_err().kind(), io::ErrorKind::StorageFull);
    file.write_at(&[4; 1024], 0).unwrap();
    disk.set_capacity(None);
    file.allocate(2000).unwrap();
}

#[test]
fn a_lock_is_held_once() {
    let disk = SimulatedDisk::new(1);
    let held = disk.lock(Path::new("l")).unwrap();
    assert!(disk.lock(Path::new("l")).is_err());
    drop(held);
    disk.lock(Path::new("l")).unwrap();
}
