//! Hostile calls of every method of the protocol, as the fuzz target `protocol` makes them: a fixed number of them, and a few
//! that were found once.

mod hostile;

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use hostile::driver::{METHODS, drive};
use proptest::prelude::*;

/// An input may take this long, on a machine that is busy.
const LIMIT: Duration = Duration::from_mins(1);

/// Makes the calls on a thread of its own, so that one that has no end is found.
fn drive_in_time(input: &[u8]) -> Result<(), TestCaseError> {
    let (done, wait) = mpsc::channel();
    let input = input.to_vec();
    let calls = thread::spawn(move || {
        drive(&input);
        done.send(()).ok();
    });
    if let Err(mpsc::RecvTimeoutError::Timeout) = wait.recv_timeout(LIMIT) {
        return Err(TestCaseError::fail("a call has no end"));
    }
    calls.join().map_err(|_| TestCaseError::fail("a call was not answered as it must be"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn every_call_is_answered_as_it_must_be(
        input in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        drive_in_time(&input)?;
    }
}

#[test]
fn every_method_meets_garbage_and_nothing() {
    for method in 0..METHODS.len() {
        let method = u8::try_from(method).expect("few methods");
        // The second byte asks for the bytes as they are, the third says how many.
        for message in
            [&b""[..], b"\xff\xff\xff", b"\x0a\x7f", b"\x0b", b"\x0a\x00", b"\x0a\x02\x0a\x00"]
        {
            let length = u8::try_from(message.len()).expect("short");
            let input = [&[method, 5, length], message].concat();
            drive_in_time(&input)
                .unwrap_or_else(|error| panic!("{}: {error}", METHODS[usize::from(method)]));
        }
    }
}
