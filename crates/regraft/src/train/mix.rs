//! Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019): what is drawn for a batch, and the
//! targets of its images. The engine mixes the images ([`Mix`]).

use crate::config::TrainConfig;
use regraft_base::random::Draws;
use regraft_nn::engine::Mix;

/// Draws how a batch of images of this side in pixels is mixed; `None` if the configuration
/// mixes nothing.
pub(super) fn draw(config: &TrainConfig, side: usize, draws: &mut Draws) -> Option<Mix> {
    let (blends, pastes) = (config.mixup > 0.0, config.cutmix > 0.0);
    let blends = match (blends, pastes) {
        (false, false) => return None,
        (true, true) => draws.below(2) == 0,
        (blends, _) => blends,
    };
    if blends {
        return Some(Mix::Blend(beta(f64::from(config.mixup), draws) as f32));
    }
    let kept = beta(f64::from(config.cutmix), draws);
    let (column, row) = (draws.below(side as u32) as usize, draws.below(side as u32) as usize);
    Some(paste(kept, column, row, side))
}

/// A square around a pixel that leaves this share of the image, less where it reaches beyond the
/// edge.
fn paste(kept: f64, column: usize, row: usize, side: usize) -> Mix {
    let half = (0.5 * (1.0 - kept).sqrt() * side as f64) as usize;
    let around = |centre: usize| (centre.saturating_sub(half), (centre + half).min(side));
    let ((left, right), (top, bottom)) = (around(column), around(row));
    Mix::Paste { top, left, bottom, right }
}

/// The share of each target that its own label keeps.
fn kept(mix: Mix, side: usize) -> f32 {
    match mix {
        Mix::Blend(kept) => kept,
        Mix::Paste { top, left, bottom, right } => {
            (1.0 - ((bottom - top) * (right - left)) as f64 / (side * side) as f64) as f32
        }
    }
}

/// The targets `[N, classes]` of a batch that is mixed. The labels become those that most of each
/// image is of.
pub(super) fn targets(mix: Mix, labels: &mut [u32], side: usize, classes: usize) -> Vec<f32> {
    let count = labels.len();
    let kept = kept(mix, side);
    let own = labels.to_vec();
    let mut targets = vec![0.0; count * classes];
    for (place, target) in targets.chunks_exact_mut(classes).enumerate() {
        let other = own[(place + count - 1) % count];
        target[own[place] as usize] += kept;
        target[other as usize] += 1.0 - kept;
        if kept < 0.5 {
            labels[place] = other;
        }
    }
    targets
}

/// A draw of the beta distribution with two equal parameters, as the ratio of two gamma draws.
fn beta(parameter: f64, draws: &mut Draws) -> f64 {
    let (first, second) = (gamma(parameter, draws), gamma(parameter, draws));
    // Small parameters underflow now and then; their draws are near 0 or 1.
    if first + second > 0.0 { first / (first + second) } else { f64::from(draws.below(2)) }
}

/// A draw of the gamma distribution of scale 1 (Marsaglia and Tsang 2000; shapes below 1 by a power
/// of a uniform draw).
fn gamma(shape: f64, draws: &mut Draws) -> f64 {
    if shape < 1.0 {
        let power = (1.0 - draws.uniform_f64()).powf(1.0 / shape);
        return gamma(shape + 1.0, draws) * power;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = f64::from(draws.normal());
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && (1.0 - draws.uniform_f64()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Recipe;
    use regraft_base::random::Purpose;

    fn draws(sample: u32) -> Draws {
        Draws::new(3, Purpose::Mix, 0, sample)
    }

    #[test]
    fn beta_has_its_moments() {
        for parameter in [0.2, 1.0, 4.0] {
            let values: Vec<f64> =
                (0..20_000).map(|sample| beta(parameter, &mut draws(sample))).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>()
                / values.len() as f64;
            let expected = 1.0 / (4.0 * (2.0 * parameter + 1.0));
            assert!(
                (mean - 0.5).abs() < 0.01 && (variance - expected).abs() < 0.03 * expected + 1e-3,
                "{parameter}: {mean}, {variance}"
            );
        }
    }

    #[test]
    fn targets_are_mixed_in_the_same_shares_as_images() {
        let mut labels = vec![0, 1, 2];
        let blended = targets(Mix::Blend(0.75), &mut labels, 4, 3);
        assert_eq!(blended, [0.75, 0.0, 0.25, 0.25, 0.75, 0.0, 0.0, 0.25, 0.75]);
        assert_eq!(labels, [0, 1, 2]);
        let pasted =
            targets(Mix::Paste { top: 1, left: 0, bottom: 4, right: 3 }, &mut labels, 4, 3);
        let kept = 1.0 - 9.0 / 16.0;
        assert_eq!(pasted[..3], [kept, 0.0, 1.0 - kept]);
        assert_eq!(labels, [2, 0, 1], "most of each image is the other's");
    }

    #[test]
    fn mixed_targets_are_torchvisions() {
        let cases: Vec<serde_json::Value> =
            serde_json::from_str(include_str!("../../tests/fixtures/mixing.json")).expect("JSON");
        assert_eq!(cases.len(), 4);
        let (side, classes) = (6, 4);
        for case in &cases {
            let number = |name: &str| case[name].as_f64().expect("a number");
            let numbers = |name: &str| -> Vec<f64> {
                case[name]
                    .as_array()
                    .expect("a list")
                    .iter()
                    .map(|value| value.as_f64().expect("a number"))
                    .collect()
            };
            let mix = match case["kind"].as_str() {
                Some("mixup") => Mix::Blend(number("kept") as f32),
                _ => {
                    let mix = paste(
                        number("kept"),
                        number("column") as usize,
                        number("row") as usize,
                        side,
                    );
                    let [left, top, right, bottom]: [f64; 4] =
                        numbers("box").try_into().expect("four sides");
                    let sides = [top, left, bottom, right].map(|side| side as usize);
                    assert_eq!(
                        mix,
                        Mix::Paste {
                            top: sides[0],
                            left: sides[1],
                            bottom: sides[2],
                            right: sides[3]
                        }
                    );
                    assert!((f64::from(kept(mix, side)) - number("kept_adjusted")).abs() < 1e-6);
                    mix
                }
            };
            let mut labels: Vec<u32> =
                numbers("labels").into_iter().map(|label| label as u32).collect();
            let (found, expected) = (targets(mix, &mut labels, side, classes), numbers("targets"));
            assert_eq!(found.len(), expected.len());
            let worst = found
                .iter()
                .zip(&expected)
                .map(|(found, expected)| (f64::from(*found) - expected).abs());
            assert!(worst.fold(0.0, f64::max) < 2e-7, "{}", case["kind"]);
        }
    }

    #[test]
    fn what_is_drawn_is_what_was_asked_for() {
        let mut config = TrainConfig::recipe(Recipe::Default, "photos".as_ref());
        assert_eq!(draw(&config, 32, &mut draws(0)), None);
        config.mixup = 1.0;
        assert!((0..50).all(|sample| matches!(draw(&config, 32, &mut draws(sample)),
                Some(Mix::Blend(kept)) if (0.0..=1.0).contains(&kept))));
        config.cutmix = 1.0;
        let blends = (0..400)
            .filter(|&sample| matches!(draw(&config, 32, &mut draws(sample)), Some(Mix::Blend(_))))
            .count();
        assert!((150..250).contains(&blends), "{blends} of 400");
        config.mixup = 0.0;
        for sample in 0..200 {
            let Some(Mix::Paste { top, left, bottom, right }) =
                draw(&config, 32, &mut draws(sample))
            else {
                panic!("CutMix alone")
            };
            assert!(top <= bottom && left <= right && bottom <= 32 && right <= 32);
        }
    }
}
