//! Helpers of the tests.

/// The environment variable that makes a missing GPU a failure.
const REQUIRED: &str = "REGRAFT_TEST_GPU";

/// Whether there is a GPU, or software that stands for one. Says so if there is none.
///
/// # Panics
/// If there is none, and the environment says that there has to be.
pub fn has_gpu() -> bool {
    let found = !regraft_gpu::gpus().is_empty();
    let is_required = std::env::var_os(REQUIRED).is_some_and(|value| !value.is_empty());
    assert!(found || !is_required, "{REQUIRED} is set, and there is no GPU");
    if !found {
        eprintln!("SKIPPED: no adapter; install a GPU's driver, or Mesa's lavapipe");
    }
    found
}
