//! The running average of the weights (Polyak and Juditsky 1992), exponential as in Mean Teacher (Tarvainen and Valpola 2017).

use super::state::TrainState;
use regraft_nn::engine::{Engine, EngineError, State};

/// Name of the group of [`TrainState::tensors`] that holds the average.
pub const AVERAGE: &str = "average";

/// Moves the average towards the engine's network after a step, counted from 1. It keeps the share `decay` of itself, and less in
/// the first steps, `(1 + step) / (10 + step)`, so that it does not stay at the start of a short run.
pub(super) fn follow(state: &mut TrainState, engine: &dyn Engine, decay: f32) {
    let step = state.steps_done as f32;
    let decay = decay.min((1.0 + step) / (10.0 + step));
    let network = engine.state();
    match state.tensors.get_mut(AVERAGE) {
        Some(average) => {
            for (name, values) in average {
                let Some(now) = network.get(name) else { continue };
                for (average, now) in values.iter_mut().zip(now) {
                    // What is frozen stays to the bit: a sum would make 0 of -0.
                    if *average != *now {
                        *average += (1.0 - decay) * (now - *average);
                    }
                }
            }
        }
        None => drop(state.tensors.insert(AVERAGE.into(), network)),
    }
}

/// The network that is scored and kept: the average if there is one, or else the engine's, with the head that was fitted to it.
pub(super) fn kept_network(state: &TrainState, engine: &dyn Engine) -> State {
    let mut network = state.tensors.get(AVERAGE).cloned().unwrap_or_else(|| engine.state());
    network.extend(state.fitted_head.clone().unwrap_or_default());
    network
}

/// Calls `work` with the [`kept_network`] in the engine.
pub(super) fn with_kept<T, E: From<EngineError>>(
    state: &TrainState,
    engine: &mut dyn Engine,
    work: impl FnOnce(&mut dyn Engine) -> Result<T, E>,
) -> Result<T, E> {
    if state.fitted_head.is_none() && !state.tensors.contains_key(AVERAGE) {
        return work(engine);
    }
    let network = engine.state();
    engine.load_state(&kept_network(state, engine))?;
    let outcome = work(engine);
    engine.load_state(&network)?;
    outcome
}
