//! Items for a directory: see `chorus_fuzz::roster`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    chorus_fuzz::roster(data);
});
