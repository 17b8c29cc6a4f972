//! Chance of the operating system that is a seed's own.
//!
//! The order of a `HashMap` is drawn from the operating system, once for each thread. What runs on it (which
//! of two objects that wait a controller takes first) is different each time, and no setting of the libraries
//! that do so makes it the same. The standard library asks libc's `getrandom`, by a symbol that may be
//! replaced "for perf measurements that want to disable randomness for consistency" (its own words). A
//! program that links this crate replaces it: a thread that has called [`seed`] draws from that seed, and every
//! other one from the operating system, as ever. For tests alone, and on Linux alone.

use std::cell::Cell;

thread_local! {
    static NEXT: Cell<Option<u64>> = const { Cell::new(None) };
}

/// From now on the chance of this thread comes from this number. A thread that has made a `HashMap` before keeps
/// the order of that one for all others, so this is the first thing that a thread does.
pub fn seed(seed: u64) {
    NEXT.set(Some(seed));
}

/// The SplitMix64 generator.
fn draw() -> Option<u64> {
    let state = NEXT.try_with(Cell::get).ok()??;
    let state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    NEXT.set(Some(state));
    let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    Some(z ^ (z >> 31))
}

#[cfg(target_os = "linux")]
#[allow(
    unsafe_code,
    reason = "C's functions are replaced by name, and are told where to write by a pointer"
)]
mod instead {
    use std::fs::File;
    use std::io::Read;
    use std::slice;

    /// In place of libc's.
    ///
    /// # Safety
    /// As of that one: `length` bytes may be written at `buffer`.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
        let Ok(all) = isize::try_from(length) else {
            return -1;
        };
        if buffer.is_null() || length == 0 {
            return 0;
        }
        // Nobody has said that anything was written there before.
        // SAFETY: the caller lends so many bytes.
        unsafe { buffer.write_bytes(0, length) };
        // SAFETY: the same bytes, which hold something now.
        let bytes = unsafe { slice::from_raw_parts_mut(buffer, length) };
        for part in bytes.chunks_mut(8) {
            let Some(number) = super::draw() else {
                return match File::open("/dev/urandom").and_then(|mut file| file.read_exact(bytes))
                {
                    Ok(()) => all,
                    Err(_) => -1,
                };
            };
            for (byte, drawn) in part.iter_mut().zip(number.to_le_bytes()) {
                *byte = drawn;
            }
        }
        all
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::collections::HashMap;
    use std::thread;

    fn order(seed: Option<u64>) -> Vec<u32> {
        let draw = move || {
            if let Some(seed) = seed {
                super::seed(seed);
            }
            let map: HashMap<u32, ()> = (0..100).map(|n| (n, ())).collect();
            map.into_keys().collect()
        };
        thread::spawn(draw).join().unwrap_or_default()
    }

    #[test]
    fn a_seed_is_the_same_order_each_time_and_without_one_it_is_not() {
        assert_eq!(order(Some(7)), order(Some(7)));
        assert_ne!(order(Some(7)), order(Some(8)));
        assert_ne!(order(None), order(None));
    }
}
