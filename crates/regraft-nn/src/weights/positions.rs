//! Position embeddings for another number of patches.

/// Support of the cubic filter, in pixels of the coarser grid.
const SUPPORT: f64 = 2.0;
/// The cubic filter's parameter, Catmull-Rom's.
const SHARPNESS: f64 = -0.5;

/// The side of the square grid of `positions` embeddings, and the number of embeddings before it, 0
/// or 1; `None` if there is no such grid.
#[must_use]
pub fn grid(positions: usize) -> Option<(usize, usize)> {
    [0, 1].into_iter().find_map(|before| {
        let patches = positions.checked_sub(before).filter(|patches| *patches > 0)?;
        let side = patches.isqrt();
        (side * side == patches).then_some((side, before))
    })
}

/// Position embeddings `[positions, channels]` for another number of positions, as timm computes
/// them (`resample_abs_pos_embed`): bicubic with antialiasing over the square grid of patches;
/// embeddings before the grid stay. `None` if one of the numbers is not that of a grid, or the
/// grids have another number of embeddings before them.
#[must_use]
pub fn resample(values: &[f32], channels: usize, positions: usize) -> Option<Vec<f32>> {
    let (from, before) = grid(values.len() / channels.max(1))?;
    let (to, kept) = grid(positions)?;
    if before != kept {
        return None;
    }
    let (first, patches) = values.split_at(before * channels);
    let rows = weights(from, to);
    // Along the columns, then along the rows: the filter is separable.
    let narrowed: Vec<f64> = (0..from * to * channels)
        .map(|at| {
            let (row, column, channel) = (at / (to * channels), at / channels % to, at % channels);
            let value = |place: usize| patches[(row * from + place) * channels + channel];
            rows[column].iter().map(|(place, weight)| weight * f64::from(value(*place))).sum()
        })
        .collect();
    let resampled = (0..to * to * channels).map(|at| {
        let (row, rest) = (at / (to * channels), at % (to * channels));
        let value = |place: usize| narrowed[place * to * channels + rest];
        rows[row].iter().map(|(place, weight)| weight * value(*place)).sum::<f64>() as f32
    });
    Some(first.iter().copied().chain(resampled).collect())
}

/// The places and weights of the inputs of each output.
fn weights(from: usize, to: usize) -> Vec<Vec<(usize, f64)>> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    (0..to)
        .map(|output| {
            let centre = (output as f64 + 0.5) * scale;
            let reach = SUPPORT * stretch;
            let first = (centre - reach + 0.5).max(0.0) as usize;
            let end = ((centre + reach + 0.5) as usize).min(from);
            let weight = |place: usize| cubic((place as f64 + 0.5 - centre) / stretch);
            let sum: f64 = (first..end).map(weight).sum();
            (first..end).map(|place| (place, weight(place) / sum)).collect()
        })
        .collect()
}

/// Keys' cubic filter.
fn cubic(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((SHARPNESS + 2.0) * x - (SHARPNESS + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * SHARPNESS
    } else {
        0.0
    }
}
