#![no_main]

use libfuzzer_sys::fuzz_target;
use twinmask_targets::named;

fuzz_target!(|data: &[u8]| {
    let _ = (named("frame").run)(data);
});
