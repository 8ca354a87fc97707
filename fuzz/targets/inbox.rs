//! The target `inbox` of `ganger_tests::fuzz`, under libFuzzer.

#![no_main]

use ganger_tests::fuzz::{Features, Target};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| Target::Inbox.run(bytes, &mut Features::default()));
