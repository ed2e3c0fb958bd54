//! Calls of any method of the KurrentDB protocol with any messages, nearly right or none, to the real services over the store
//! in memory: each comes to its end, no error is untyped, and an append that was refused has changed nothing.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| annals_fuzz::hostile::driver::drive(input));
