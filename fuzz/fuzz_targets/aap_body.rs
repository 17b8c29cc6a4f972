//! One body of a controller, in every way in which one is read: an answer, a row of a list, a job, variables.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    provider_aap::fuzzing::body(data);
    if let Ok(text) = std::str::from_utf8(data) {
        provider_aap::fuzzing::variables(text);
    }
});
