//! A whole folder of any bytes, whose checksums may have been made right: nothing then says what was written. But a
//! verification and an opening agree, and what is served is a log: positions and revisions without a gap, times that do not
//! go back, every way to read the same events, and the same again after a reopening.
#![no_main]

use std::collections::BTreeMap;

use annals_core::{ReadQuery, RecordedEvent};
use annals_fuzz::golden;
use annals_fuzz::oracle::verified;
use annals_fuzz::written::{open, read};
use annals_store::{Log, OpenError};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some(disk) = golden::unpack(input) else { return };
    let verified = verified(&disk);
    let log = match open(&disk) {
        Ok(log) => log,
        Err(OpenError::Damage(damage)) => {
            let sound = verified.as_ref().is_ok_and(|found| found.damages.is_empty());
            assert!(!sound, "it verifies and does not open: {damage}");
            return;
        }
        Err(error) => panic!("{error:?}"),
    };
    // What lies in a sealed segment was read too, since it has no index file.
    let found = verified.expect("it opens");
    assert_eq!((&found.damages[..], found.end), (&[][..], log.stats().events));
    assert_eq!(
        log.tree_root(found.end).expect("it is sound"),
        found.tree_root.expect("it is sound")
    );
    let events = all(&log);
    is_a_log(&log, &events);
    drop(log);
    assert_eq!(all(&open(&disk).expect("it was closed")), events);
});

fn all(log: &Log) -> Vec<RecordedEvent> {
    let events = read(log, ReadQuery::all()).expect("it verifies");
    let mut backwards = read(log, ReadQuery::all().backwards()).expect("it verifies");
    backwards.reverse();
    assert_eq!(backwards, events);
    events
}

fn is_a_log(log: &Log, events: &[RecordedEvent]) {
    let mut streams: BTreeMap<_, Vec<RecordedEvent>> = BTreeMap::new();
    assert_eq!(events.len() as u64, log.stats().events);
    assert!(events.is_sorted_by_key(|event| event.time));
    for (position, event) in (0..).zip(events) {
        let stream = streams.entry(event.stream.as_str()).or_default();
        assert_eq!((event.position.0, event.revision.0), (position, stream.len() as u64));
        stream.push(event.clone());
    }
    for events in streams.into_values() {
        let query = ReadQuery::stream(events[0].stream.clone());
        assert_eq!(read(log, query).expect("it verifies"), events);
    }
}
