//! The strength of the penalty, chosen by how well held-out examples are predicted.
//!
//! The loss of held-out examples falls and rises again as the strength grows. So the first fold
//! alone finds where its minimum is, in steps of ten and then in the steps of the list. From there
//! on all folds count: the search walks up and down the list for as long as the loss may still
//! fall.

use super::folds::Folds;
use super::objective::{Centred, Objective};
use super::out_of_fold::OutOfFold;
use super::path::Path;
use super::{Examples, FAR, RegressionError, Solution, check_strength, solve_from};
use crate::algebra::vectors::add_scaled;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// How the strength is chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct CrossValidationOptions {
    /// Parts into which the examples are divided; each is held out once.
    pub folds: usize,
    /// Strengths to choose from.
    pub strengths: Vec<f64>,
    /// Seed of the division.
    pub seed: u64,
    /// Views of each image: the examples are those of all images under the first view, then under
    /// the second, and so on. All views of an image are held out together, and only the first one
    /// is scored.
    pub views: usize,
}

impl CrossValidationOptions {
    /// Five folds, and strengths from 10^-4 to 10^2, three to each power of ten; far beyond both
    /// ends nothing was ever chosen.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let strengths = (-12..=6).map(|third| 10f64.powf(f64::from(third) / 3.0)).collect();
        Self { folds: 5, strengths, seed, views: 1 }
    }

    /// The same with no more folds than there are examples.
    #[must_use]
    pub fn for_examples(self, examples: usize) -> Self {
        Self { folds: self.folds.min(examples), ..self }
    }
}

/// How well held-out examples are predicted with one strength.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Trial {
    /// The strength: scikit-learn's `C`.
    pub strength: f64,
    /// Mean cross-entropy of the held-out examples, weighted if classes have weights.
    pub loss: f64,
    /// Share of held-out examples that are predicted right.
    pub accuracy: f64,
}

/// The result of cross-validation.
#[derive(Clone, Debug, PartialEq)]
pub struct CrossValidation {
    /// The strength with the smallest held-out loss.
    pub strength: f64,
    /// The strengths that were tried on all folds, the smallest first. Those that some of the folds
    /// ruled out are missing.
    pub trials: Vec<Trial>,
    /// Predictions of the regressions with the chosen strength for the examples that they did not
    /// see, in the order of the examples.
    pub out_of_fold: OutOfFold,
    /// Whether the regressions with the prior predict held-out examples better than those without.
    pub uses_prior: bool,
    /// How often the objective was computed, in all regressions.
    pub evaluations: usize,
}

impl CrossValidation {
    /// The held-out loss of the chosen strength.
    fn loss(&self) -> f64 {
        let chosen = self.trials.iter().find(|trial| trial.strength == self.strength);
        chosen.map_or(f64::INFINITY, |trial| trial.loss)
    }
}

/// Regressions are compared once the decrease still to be expected is less than this share of the
/// objective. Where the examples are learned by heart, the loss of held-out ones still changes by a
/// thousand times as much.
const NEAR: f64 = 2e-6;
/// Rises of the held-out loss in a row after which the search goes no further.
const RISES: usize = 2;
/// Strengths of the list that the first fold takes in a stride: a power of ten.
const STRIDE: usize = 3;
/// Standard errors by which a strength must be worse than another on the folds that were tried to
/// be ruled out by them.
const DECISIVE: f64 = 3.0;
/// Held-out examples from which on a standard error means something.
const ENOUGH: usize = 100;

/// Chooses the strength by cross-validation with stratified folds. `progress` is told how many
/// regressions are solved, and of about how many, at least once for each step of a solver; it can
/// stop the search.
///
/// # Errors
/// If the examples, the strengths or the number of folds make no sense, and
/// [`RegressionError::Stopped`].
pub fn cross_validate(
    examples: Examples<'_>,
    options: &CrossValidationOptions,
    progress: &mut (dyn FnMut(usize, usize) -> ControlFlow<()> + Send),
) -> Result<CrossValidation, RegressionError> {
    let mut prepared = Prepared::new(&examples, options)?;
    Ok(prepared.search(examples.prior, progress)?.0)
}

/// As [`cross_validate`], then the regression on all examples with the chosen strength.
///
/// # Errors
/// As [`cross_validate`].
pub fn cross_validate_and_solve(
    examples: Examples<'_>,
    options: &CrossValidationOptions,
    progress: &mut (dyn FnMut(usize, usize) -> ControlFlow<()> + Send),
) -> Result<(CrossValidation, Solution), RegressionError> {
    let mut prepared = Prepared::new(&examples, options)?;
    let (found, start, solved) = prepared.search(examples.prior, progress)?;
    let solution = solve_from(start, &prepared.centred, &[found.strength], &mut || {
        progress(solved, solved + 1)
    })?;
    Ok((found, solution))
}

/// The weaker strengths by way of which a regression comes from 0 to a place in the list.
fn way_to(place: usize) -> impl Iterator<Item = usize> {
    (1..=place / STRIDE).rev().map(move |strides| place - strides * STRIDE)
}

/// The examples as the search needs them.
struct Prepared {
    folds: Folds,
    centred: Centred,
    /// From the smallest.
    strengths: Vec<f64>,
    /// Examples of the first view.
    count: usize,
}

impl Prepared {
    fn new(
        examples: &Examples<'_>,
        options: &CrossValidationOptions,
    ) -> Result<Self, RegressionError> {
        examples.check()?;
        options.strengths.iter().try_for_each(|&strength| check_strength(strength))?;
        let mut strengths = options.strengths.clone();
        strengths.sort_by(f64::total_cmp);
        strengths.dedup();
        if strengths.is_empty() {
            return Err(RegressionError::Strength(f64::NAN));
        }
        let folds = Folds::new(examples, options.folds, options.views, options.seed)?;
        let centred =
            Centred::new(&Examples { prior: None, ..*examples }, folds.order.iter().copied());
        Ok(Self { folds, centred, strengths, count: examples.labels.len() / options.views })
    }

    /// Searches without the prior, then with it if there is one; keeps what predicts held-out
    /// examples better. Returns what was found, the mean of the folds' last solutions, and how many
    /// regressions were solved.
    fn search(
        &mut self,
        prior: Option<&[f32]>,
        progress: &mut (dyn FnMut(usize, usize) -> ControlFlow<()> + Send),
    ) -> Result<(CrossValidation, Path, usize), RegressionError> {
        let (found, start, solved) = self.search_once(0, progress)?;
        let Some(prior) = prior else { return Ok((found, start, solved)) };
        self.centred.set_prior(Some(prior));
        let (with, start_with, solved) = self.search_once(solved, progress)?;
        let evaluations = found.evaluations + with.evaluations;
        if with.loss() < found.loss() {
            return Ok((
                CrossValidation { evaluations, uses_prior: true, ..with },
                start_with,
                solved,
            ));
        }
        self.centred.set_prior(None);
        Ok((CrossValidation { evaluations, ..found }, start, solved))
    }

    fn search_once(
        &self,
        before: usize,
        progress: &mut (dyn FnMut(usize, usize) -> ControlFlow<()> + Send),
    ) -> Result<(CrossValidation, Path, usize), RegressionError> {
        let mut progress = |solved, expected| progress(before + solved, before + expected);
        let mut search = Search::new(self, &mut progress);
        let chosen = search.run()?;
        let solved = before + search.solved;
        let start = search.mean();
        Ok((search.end(chosen), start, solved))
    }
}

/// The held-out examples of one fold under one strength.
struct Score {
    /// Each example's weighted cross-entropy.
    losses: Vec<f64>,
    right: usize,
}

struct Search<'a, 'b> {
    prepared: &'a Prepared,
    progress: &'b mut (dyn FnMut(usize, usize) -> ControlFlow<()> + Send),
    /// Each fold's last solutions, from which its next regression starts. Another fold's solution
    /// has seen the examples that this one holds out, and a regression that is stopped early would
    /// remember them.
    paths: Vec<Path>,
    /// By place of the strength, then fold.
    scores: BTreeMap<usize, Vec<Option<Score>>>,
    /// By place of the strength.
    out_of_fold: BTreeMap<usize, OutOfFold>,
    solved: usize,
    expected: usize,
    evaluations: usize,
}

impl<'a, 'b> Search<'a, 'b> {
    fn new(
        prepared: &'a Prepared,
        progress: &'b mut (dyn FnMut(usize, usize) -> ControlFlow<()> + Send),
    ) -> Self {
        let folds = prepared.folds.folds.len();
        Self {
            prepared,
            progress,
            paths: (0..folds).map(|_| Path::default()).collect(),
            scores: BTreeMap::new(),
            out_of_fold: BTreeMap::new(),
            solved: 0,
            expected: prepared.strengths.len().min(6 + 4 * folds),
            evaluations: 0,
        }
    }

    /// The place of the best strength.
    fn run(&mut self) -> Result<usize, RegressionError> {
        let start = self.first_fold()?;
        let others = self.paths.len() - 1;
        self.expected = self.solved + 4 * others;
        self.all_folds(start)?;
        let up = self.walk(start, start, 1)?;
        let down = self.walk(start, up, -1)?;
        Ok(down)
    }

    /// The best place by the first fold alone.
    fn first_fold(&mut self) -> Result<usize, RegressionError> {
        let last = self.prepared.strengths.len() - 1;
        let (mut best, mut next) = (0, STRIDE.min(last));
        self.score(0, 0)?;
        // In strides, until the loss rises.
        while next > best {
            self.score(next, 0)?;
            if self.first_loss(next) >= self.first_loss(best) {
                break;
            }
            best = next;
            next = (next + STRIDE).min(last);
        }
        // Then step by step, first upwards.
        let coarse = best;
        while best < last {
            self.score(best + 1, 0)?;
            if self.first_loss(best + 1) >= self.first_loss(best) {
                break;
            }
            best += 1;
        }
        while best <= coarse && best > 0 {
            self.score(best - 1, 0)?;
            if self.first_loss(best - 1) >= self.first_loss(best) {
                break;
            }
            best -= 1;
        }
        Ok(best)
    }

    /// Tries the places after `start` in one direction on all folds, as long as the loss may fall.
    /// Returns the best of these and `best`.
    fn walk(
        &mut self,
        start: usize,
        mut best: usize,
        direction: isize,
    ) -> Result<usize, RegressionError> {
        let (mut place, mut rises) = (start, 0);
        while rises < RISES {
            let Some(next) = place
                .checked_add_signed(direction)
                .filter(|&next| next < self.prepared.strengths.len())
            else {
                break;
            };
            if !self.is_whole(next) && !self.all_folds_unless_worse(next, best)? {
                break;
            }
            rises = if self.trial(next).loss < self.trial(place).loss { 0 } else { rises + 1 };
            if self.trial(next).loss < self.trial(best).loss {
                best = next;
            }
            place = next;
        }
        Ok(best)
    }

    /// Whether the folds that were tried with a strength show already that it is worse than
    /// another, which was tried on all.
    fn is_ruled_out(&self, place: usize, than: usize) -> bool {
        let (Some(worse), Some(better)) = (self.scores.get(&place), self.scores.get(&than)) else {
            return false;
        };
        let both = || worse.iter().flatten().zip(better.iter().flatten());
        let pairs = || both().flat_map(|(worse, better)| worse.losses.iter().zip(&better.losses));
        let count = pairs().count() as f64;
        let differences = || pairs().map(|(worse, better)| worse - better);
        let mean = differences().sum::<f64>() / count;
        let squares: f64 = differences().map(|difference| (difference - mean).powi(2)).sum();
        let error = (squares / (count - 1.0) / count).sqrt();
        count >= ENOUGH as f64 && mean > DECISIVE * error
    }

    /// Whether all folds were tried with a strength.
    fn is_whole(&self, place: usize) -> bool {
        self.scores.get(&place).is_some_and(|scores| scores.iter().all(Option::is_some))
    }

    fn first_score(&self, place: usize) -> Option<&Score> {
        self.scores.get(&place).and_then(|folds| folds[0].as_ref())
    }

    fn first_loss(&self, place: usize) -> f64 {
        self.first_score(place).map_or(f64::INFINITY, |score| score.losses.iter().sum())
    }

    fn all_folds(&mut self, place: usize) -> Result<(), RegressionError> {
        (0..self.paths.len()).try_for_each(|fold| self.score(place, fold))
    }

    /// Tries the folds until they show that a strength is worse than another. Returns whether all
    /// were tried.
    fn all_folds_unless_worse(
        &mut self,
        place: usize,
        than: usize,
    ) -> Result<bool, RegressionError> {
        for fold in 0..self.paths.len() {
            if self.is_ruled_out(place, than) {
                return Ok(false);
            }
            self.score(place, fold)?;
        }
        Ok(true)
    }

    /// Solves the regression of a strength on a fold and scores it on what the fold holds out,
    /// unless that was done before.
    fn score(&mut self, place: usize, fold: usize) -> Result<(), RegressionError> {
        let folds = self.paths.len();
        let scores = self.scores.entry(place).or_insert_with(|| (0..folds).map(|_| None).collect());
        if scores[fold].is_some() {
            return Ok(());
        }
        let Prepared { centred, count, strengths, folds } = self.prepared;
        let part = &folds.folds[fold];
        let expected = self.expected.max(self.solved + 1);
        let mut go_on = || (self.progress)(self.solved, expected);
        // Far from the minimum the curvature says little of it. So the first regression of a fold
        // comes by way of weaker ones.
        let path = &mut self.paths[fold];
        let is_new = path.is_new();
        let way = way_to(place).map(|place| (place, FAR)).filter(|_| is_new);
        for (place, tolerance) in way.chain([(place, NEAR)]) {
            self.evaluations +=
                path.go_to(centred, &part.seen, strengths[place], tolerance, &mut go_on)?.1;
        }
        // The first fold tries the most strengths. For the others memory counts more: 50 MB for
        // 10,000 classes.
        if fold > 0 {
            path.forget();
        }
        let objective = Objective::new(centred, &part.seen, strengths[place]);
        let held_out = self
            .out_of_fold
            .entry(place)
            .or_insert_with(|| OutOfFold::new(*count, centred.classes()));
        let rows = centred.rows();
        let mut score = Score { losses: Vec::with_capacity(part.held_out.len()), right: 0 };
        Objective { rows: std::slice::from_ref(&part.held_out), ..objective }.probabilities(
            self.paths[fold].parameters(),
            &mut |first, block| {
                for (row, probabilities) in (first..).zip(block.chunks_exact(centred.classes())) {
                    let (example, label) = (folds.order[row], rows.labels[row]);
                    held_out.set(example, label, probabilities);
                    let of_label = f64::from(probabilities[label as usize].max(f32::MIN_POSITIVE));
                    score
                        .losses
                        .push(-f64::from(rows.class_weights[label as usize]) * of_label.ln());
                    score.right += usize::from(held_out.predicted(example).0 == label);
                }
            },
        );
        scores[fold] = Some(score);
        self.solved += 1;
        Ok(())
    }

    /// A place that was tried on all folds.
    fn trial(&self, place: usize) -> Trial {
        let scores = || self.scores.get(&place).into_iter().flatten().flatten();
        let loss: f64 = scores().flat_map(|score| &score.losses).sum();
        let right: usize = scores().map(|score| score.right).sum();
        let rows = self.prepared.centred.rows();
        let held_out = self.prepared.folds.folds.iter().flat_map(|fold| fold.held_out.clone());
        let weights: f64 =
            held_out.map(|row| f64::from(rows.class_weights[rows.labels[row] as usize])).sum();
        Trial {
            strength: self.prepared.strengths[place],
            loss: loss / weights,
            accuracy: right as f64 / self.prepared.count as f64,
        }
    }

    /// The mean of the folds' last solutions. A single one would be too sure of itself on the
    /// examples that it did not see.
    fn mean(&mut self) -> Path {
        let folds = self.paths.len();
        let mut mean = vec![0.0; self.prepared.centred.parameters()];
        for path in self.paths.drain(..) {
            add_scaled(&mut mean, 1.0 / folds as f32, path.parameters());
        }
        Path::from(mean)
    }

    /// The result.
    fn end(mut self, chosen: usize) -> CrossValidation {
        let whole = self.scores.keys().copied().filter(|&place| self.is_whole(place));
        let trials = whole.map(|place| self.trial(place)).collect();
        let out_of_fold = self.out_of_fold.remove(&chosen).unwrap_or_else(|| OutOfFold::new(0, 1));
        let strength = self.prepared.strengths[chosen];
        CrossValidation {
            strength,
            trials,
            out_of_fold,
            uses_prior: false,
            evaluations: self.evaluations,
        }
    }
}
