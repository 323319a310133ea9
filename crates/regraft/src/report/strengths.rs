//! The image of a fitted head: loss and accuracy of held-out training images by strength.

use super::axis::Axis;
use super::curves::{CurvesError, HEIGHT, WIDTH};
use super::drawing::{
    DASHES, LineStyle, PALETTE, Points, SCALE, chart, draw_choice, draw_curve, draw_title, svg,
};
use crate::atomic_file;
use crate::logistic_regression::Trial;
use crate::transfer::fit::HeadFit;
use std::path::Path;

const HELD_OUT: LineStyle = LineStyle { colour: PALETTE[1], dash: DASHES[0] };

/// Draws the strengths that were tried and writes the image, replacing one that is there (see
/// [`strengths_svg`]).
///
/// # Errors
/// [`CurvesError`].
pub fn write_strengths(path: &Path, name: &str, fit: &HeadFit) -> Result<(), CurvesError> {
    Ok(atomic_file::write(path, strengths_svg(name, fit)?.as_bytes())?)
}

/// The image as SVG: loss (left) and accuracy (right) of held-out training images for each
/// strength, which are powers of ten by their exponent, and a line at the one that was chosen.
///
/// # Errors
/// [`CurvesError::NoEpochs`] where no strength was tried.
pub fn strengths_svg(name: &str, fit: &HeadFit) -> Result<String, CurvesError> {
    let (Some(chosen), Some(first), Some(last)) =
        (fit.chosen(), fit.trials.first(), fit.trials.last())
    else {
        return Err(CurvesError::NoEpochs);
    };
    // They were tried from the smallest on.
    let x = Axis::of_exponents(first.strength.log10(), last.strength.log10());
    let points = |value: fn(&Trial) -> f64| -> Points {
        fit.trials
            .iter()
            .map(|trial| {
                (trial.strength.log10(), Some(value(trial)).filter(|value| value.is_finite()))
            })
            .collect()
    };
    let panels = [
        ("loss of held-out training images", points(|trial| trial.loss), 0.2, f64::INFINITY),
        ("accuracy of held-out training images", points(|trial| trial.accuracy), 0.1, 1.0),
    ];
    svg(WIDTH, HEIGHT, |area| {
        let (head, body) = area.split_vertically(50 * SCALE);
        draw_title(
            &head,
            &format!(
                "{name}: fitted with strength {:.4} (held-out accuracy {:.3})",
                fit.strength, chosen.accuracy
            ),
        )?;
        for ((value_name, points, least_span, most), place) in
            panels.iter().zip(body.split_evenly((1, 2)))
        {
            let y =
                Axis::of_values(points.iter().filter_map(|&(_, value)| value), *least_span, *most);
            let mut chart =
                chart(&place, (&x, "strength of the regression (C)"), (&y, value_name))?;
            draw_choice(&mut chart, fit.strength.log10(), &y)?;
            draw_curve(chart.plotting_area(), HELD_OUT, points)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(trials: Vec<Trial>) -> HeadFit {
        HeadFit {
            strength: 0.1,
            views: 1,
            folds: 5,
            trials,
            train_loss: 0.1,
            train_accuracy: 0.99,
            out_of_fold: None,
            temperature: None,
            prior: vec![],
        }
    }

    #[test]
    fn each_strength_is_a_point_and_the_chosen_one_is_named() {
        let trial =
            |strength: f64, loss: f64| Trial { strength, loss, accuracy: 0.9 + loss / 100.0 };
        let svg =
            strengths_svg("photos", &fit(vec![trial(0.01, 0.5), trial(0.1, 0.3), trial(1.0, 0.4)]))
                .expect("an image");
        assert_eq!(svg.lines().filter(|line| line.starts_with("<circle")).count(), 6);
        assert!(
            svg.contains("photos: fitted with strength 0.1000 (held-out accuracy 0.903)"),
            "{svg}"
        );
        assert!(
            ["1e-2", "1e-1", "1e0"].iter().all(|label| svg.lines().any(|line| line == *label)),
            "{svg}"
        );
        // A loss that overflowed has no place.
        let svg = strengths_svg("photos", &fit(vec![trial(0.1, 0.3), trial(1.0, f64::NAN)]))
            .expect("an image");
        assert_eq!(svg.lines().filter(|line| line.starts_with("<circle")).count(), 2);
        assert!(strengths_svg("photos", &fit(Vec::new())).is_err());
    }
}
