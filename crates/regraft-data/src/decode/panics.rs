//! Catches a decoder's panic without printing it.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// Whether this thread is inside a decoder.
    static DECODING: Cell<bool> = const { Cell::new(false) };
}

/// Runs a job and returns the message of a panic as an error. The panic is not printed, because it
/// is reported as an error of the file. Panics elsewhere in the program are printed as usual.
pub fn caught<T>(job: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |information| {
            if !DECODING.get() {
                previous(information);
            }
        }));
    });
    DECODING.set(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(job));
    DECODING.set(false);
    outcome.map_err(|payload| message(payload.as_ref()))
}

fn message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_message() {
        assert_eq!(caught(|| 3), Ok(3));
        assert_eq!(
            caught(|| -> u32 { panic!("index {} of {}", 5, 3) }),
            Err("index 5 of 3".to_owned())
        );
        assert_eq!(caught(|| -> u32 { panic!("plain") }), Err("plain".to_owned()));
    }
}
