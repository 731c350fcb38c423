//! Tokens at a door: see `chorus_fuzz::token`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    chorus_fuzz::token(data);
});
