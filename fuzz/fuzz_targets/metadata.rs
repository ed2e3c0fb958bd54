//! Any bytes as an event's metadata: reading them cannot fail, what was read survives being written, and what takes one
//! field out finds the same as what reads all.
#![no_main]

use std::collections::BTreeSet;

use annals_core::Metadata;
use bytes::Bytes;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let bytes = Bytes::copy_from_slice(input);
    let metadata = Metadata::decode(&bytes);
    let tags: BTreeSet<String> = Metadata::tags_of(input).into_iter().map(str::to_owned).collect();
    assert_eq!(tags, metadata.tags);
    assert_eq!(Metadata::causation_of(input), metadata.causation);
    assert_eq!(Metadata::decode(&metadata.encode()), metadata);
});
