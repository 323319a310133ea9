//! Whether the model of a run is of any use. Numbers that are not finite stop a run; weights that
//! are finite may be as useless.

use crate::report::epochs::EpochRow;

/// The training loss of a network that learned nothing is that of guessing, `ln(classes)`; the
/// noise of dropout and a high rate may double it for an epoch. Beyond that the weights have grown
/// out of all proportion.
const TIMES_GUESSING: f64 = 2.0;

/// A warning if the kept epoch's training loss is far worse than that of guessing.
pub(super) fn warning(kept: &EpochRow, classes: usize) -> Option<String> {
    let guessing = (classes as f64).ln();
    if kept.train_loss <= TIMES_GUESSING * guessing {
        return None;
    }
    let loss = if kept.train_loss < 1e4 {
        format!("{:.2}", kept.train_loss)
    } else {
        format!("{:.1e}", kept.train_loss)
    };
    Some(format!(
        "WARNING: this model is of no use: the training loss of epoch {} is {loss}, and guessing \
         among {classes} classes has \
         {guessing:.2}. Train again with a lower learning rate",
        kept.epoch
    ))
}
