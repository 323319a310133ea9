//! Sums over a row of values.

/// Number of partial sums of a row, so that loops become vectors.
const LANES: usize = 16;

/// The sum of `term` over a row's positions, in lanes that are added at the end.
#[inline(always)]
pub(crate) fn row_sum(length: usize, term: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let whole = length / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += term(start + lane);
        }
    }
    for place in whole..length {
        lanes[place - whole] += term(place);
    }
    lanes.iter().sum()
}
