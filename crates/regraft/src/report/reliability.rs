//! The reliability diagram: how often predictions of a probability are right.

use super::axis::Axis;
use super::curves::CurvesError;
use super::drawing::{
    DASHES, LineStyle, PALETTE, SCALE, chart, choice_stroke, draw_curve, draw_title, svg,
};
use crate::metrics::Bin;
use plotters::prelude::*;

/// Size of the image in CSS pixels.
const WIDTH: u32 = 480;
const HEIGHT: u32 = 440;

const MEASURED: LineStyle = LineStyle { colour: PALETTE[0], dash: DASHES[0] };

/// Draws the share of right predictions by their mean probability, over the share of images in each
/// bin, and the diagonal on which calibrated probabilities lie. Bins without images have no point.
///
/// # Errors
/// [`CurvesError::Draw`].
pub fn reliability_svg(bins: &[Bin]) -> Result<String, CurvesError> {
    let images: u64 = bins.iter().map(|bin| bin.images).sum();
    let share = |bin: &Bin| bin.images as f64 / images.max(1) as f64;
    let [x, y] = [(); 2].map(|()| Axis::of_values([0.0, 1.0].into_iter(), 1.0, 1.0));
    let points = bins
        .iter()
        .filter(|bin| bin.images > 0)
        .map(|bin| (bin.probability, Some(bin.accuracy)))
        .collect();
    svg(WIDTH, HEIGHT, |area| {
        let (head, body) = area.split_vertically(50 * SCALE);
        draw_title(&head, "probability and accuracy")?;
        let mut chart =
            chart(&body, (&x, "probability of the predicted class"), (&y, "share that is right"))?;
        let width = 1.0 / bins.len().max(1) as f64;
        let bars = bins.iter().enumerate().filter(|(_, bin)| bin.images > 0).map(|(place, bin)| {
            let left = place as f64 * width;
            let corners = [(left + 0.1 * width, 0.0), (left + 0.9 * width, share(bin))];
            Rectangle::new(corners, RGBColor(205, 217, 226).filled())
        });
        chart.draw_series(bars)?;
        chart.draw_series([PathElement::new([(0.0, 0.0), (1.0, 1.0)], choice_stroke())])?;
        draw_curve(chart.plotting_area(), MEASURED, &points)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::reliability;

    #[test]
    fn each_bin_with_images_is_a_point_and_a_bar() {
        let bins = reliability([(0.95, true), (0.9, false), (0.55, true)].into_iter());
        let svg = reliability_svg(&bins).expect("a drawing");
        assert_eq!(svg.matches("<circle").count(), 3);
        assert_eq!(svg.matches("fill=\"#CDD9E2\"").count(), 3);
        let none = reliability_svg(&reliability([].into_iter())).expect("a drawing");
        assert_eq!(none.matches("<circle").count(), 0);
    }
}
