//! The running average of the weights: how fast it follows them, and where it takes their place.

use super::state::TrainState;
use regraft_nn::engine::{Engine, EngineError, State};

/// Moves the engine's average towards its network after a step. It keeps the share `decay` of
/// itself, and less in the first steps, `(1 + step) / (10 + step)` at a step counted from 1, so
/// that it does not stay at the start of a short run.
pub(super) fn follow(state: &TrainState, engine: &mut dyn Engine, decay: f32) {
    let step = state.steps_done as f32;
    engine.follow_average(decay.min((1.0 + step) / (10.0 + step)));
}

/// The network that is scored and kept: the average if there is one, or else the engine's, with the
/// head that was fitted to it.
pub(super) fn kept_network(state: &TrainState, engine: &dyn Engine) -> State {
    let mut network = engine.average().unwrap_or_else(|| engine.state());
    network.extend(state.fitted_head.clone().unwrap_or_default());
    network
}

/// Calls `work` with the [`kept_network`] in the engine.
pub(super) fn with_kept<T, E: From<EngineError>>(
    state: &TrainState,
    engine: &mut dyn Engine,
    work: impl FnOnce(&mut dyn Engine) -> Result<T, E>,
) -> Result<T, E> {
    if state.fitted_head.is_none() && !engine.has_average() {
        return work(engine);
    }
    let network = engine.state();
    engine.load_state(&kept_network(state, engine))?;
    let outcome = work(engine);
    engine.load_state(&network)?;
    outcome
}
