//! Batch norm beyond PyTorch's cases: statistics of feature maps with a large mean, and the
//! backward pass through activation, residual and stochastic depth, against plain loops in f64.

mod common;

use common::reference;
use common::{assert_close, draw, draw_as, on_every_instruction_set, statistics, to, wide};
use regraft_kernels::activation::Activation;
use regraft_kernels::batch_norm::{self, BackwardPrologue, Mask};
use regraft_kernels::element::{Bf16, Element};

/// Relative to the largest value of a result.
const TOLERANCE: f64 = 1e-6;
/// Sums over many pixels may be small compared with their terms.
const SUM_TOLERANCE: f64 = 1e-5;

/// The tolerance for a feature map of `E` whose inputs were rounded before.
fn map_tolerance<E: Element>() -> f64 {
    if E::NAME == Bf16::NAME { 4e-3 } else { TOLERANCE }
}

#[test]
fn statistics_are_exact_whatever_the_mean() {
    on_every_instruction_set("statistics_are_exact_whatever_the_mean", || {
        for (pixels, channels) in [(1, 3), (2, 17), (127, 5), (128, 16), (129, 33), (1000, 7)] {
            // Around 1000 a block's mean is rounded to about 1e-4. (The mean of squares minus the
            // square of the mean, in f32, would be off by a tenth.)
            for (mean, tolerance) in [(0.0, TOLERANCE), (1.0, TOLERANCE), (1000.0, 1e-4)] {
                let map = draw_as(1, pixels * channels, |u| 2.0 * u - 1.0 + mean);
                let statistics = statistics(&map, channels);
                let (mean, variance) = reference::statistics(&wide(&map), channels);
                let what = format!("{pixels} pixels of {channels} channels around {}", mean[0]);
                assert_close(&format!("{what}: mean"), &statistics.mean, &mean, TOLERANCE);
                if pixels == 1 {
                    assert_eq!(statistics.variance, vec![0.0; channels], "{what}");
                } else {
                    assert_close(
                        &format!("{what}: variance"),
                        &statistics.variance,
                        &variance,
                        tolerance,
                    );
                }
            }
        }
    });
}

#[test]
fn running_statistics_take_the_unbiased_variance() {
    let statistics = statistics(&[1.0, 3.0, 5.0, 7.0], 1);
    let (mut mean, mut variance) = ([10.0], [20.0]);
    statistics.update_running(4, 0.25, &mut mean, &mut variance);
    assert_close("running mean", &mean, &[10.0 * 0.75 + 4.0 * 0.25], TOLERANCE);
    assert_close("running variance", &variance, &[20.0 * 0.75 + 20.0 / 3.0 * 0.25], TOLERANCE);
}

/// The result of [`batch_norm::backward`], in f64.
struct Expected {
    gradient: Vec<f64>,
    residual: Vec<f64>,
    weight: Vec<f64>,
    bias: Vec<f64>,
}

struct Case {
    images: usize,
    pixels: usize,
    channels: usize,
    activation: Activation,
    keep: Option<Vec<f32>>,
    /// Whether there is a residual, and whether its gradient is accumulated.
    residual: Option<bool>,
}

fn expected<E: Element>(
    case: &Case,
    values: &[Vec<E>; 4],
    mean: &[f32],
    inverse: &[f32],
) -> Expected {
    let [input, output, gradient, residual] = values.each_ref().map(|values| to::<f32>(values));
    let (low, high) = case.activation.bounds();
    let masked: Vec<f64> = gradient
        .iter()
        .zip(&output)
        .map(|(&g, &o)| if o > low && o < high { f64::from(g) } else { 0.0 })
        .collect();
    let added = case.residual == Some(true);
    let start = residual.iter().map(|&value| if added { f64::from(value) } else { 0.0 });
    let residual = start.zip(&masked).map(|(start, gradient)| start + gradient).collect();
    let keep = |at: usize| {
        case.keep.as_ref().map_or(1.0, |keep| f64::from(keep[at / case.channels / case.pixels]))
    };
    let gradient: Vec<f64> =
        masked.iter().enumerate().map(|(at, gradient)| gradient * keep(at)).collect();
    let (mut weight, mut bias) = (vec![0.0; case.channels], vec![0.0; case.channels]);
    for (at, gradient) in gradient.iter().enumerate() {
        let channel = at % case.channels;
        weight[channel] += gradient
            * (f64::from(input[at]) - f64::from(mean[channel]))
            * f64::from(inverse[channel]);
        bias[channel] += gradient;
    }
    Expected { gradient, residual, weight, bias }
}

#[test]
fn the_way_back_passes_activation_residual_and_branch() {
    on_every_instruction_set("the_way_back_passes_activation_residual_and_branch", || {
        for (images, pixels, channels) in
            [(1, 1, 1), (3, 7, 17), (5, 130, 33), (2, 300, 3), (4, 9, 5000)]
        {
            for activation in [Activation::Identity, Activation::Relu, Activation::Relu6] {
                for residual in [None, Some(false), Some(true)] {
                    for drops in [false, true] {
                        let keep = drops
                            .then(|| (0..images).map(|image| [1.25, 0.0][image % 2]).collect());
                        let case = Case { images, pixels, channels, activation, keep, residual };
                        check::<f32>(&case);
                        check::<Bf16>(&case);
                    }
                }
            }
        }
    });
}

fn check<E: Element>(case: &Case) {
    let Case { images, pixels, channels, activation, keep, residual } = case;
    let length = images * pixels * channels;
    let function = |u: f32| activation.apply(12.0 * u - 3.0);
    let values = [draw(1, length), draw_as(2, length, function), draw(3, length), draw(4, length)]
        .map(|values| to::<E>(&values));
    let (mean, inverse) = (draw(5, *channels), draw_as(6, *channels, |u| 0.5 + u));
    let expected = expected(case, &values, &mean, &inverse);
    let [input, output, mut gradient, mut residual_gradient] = values;
    let (mut weight, mut bias) = (vec![f32::NAN; *channels], vec![f32::NAN; *channels]);
    let prologue = BackwardPrologue {
        mask: if *activation == Activation::Identity {
            Mask::None
        } else {
            Mask::Output(&output, *activation)
        },
        residual: residual.map(|accumulate| (&mut residual_gradient[..], accumulate)),
        keep: keep.as_deref(),
    };
    // The earlier content of the scratch memory must not matter.
    let mut partial = vec![f32::NAN; 7];
    batch_norm::backward(
        prologue,
        &input,
        &mut gradient,
        &mean,
        &inverse,
        &mut weight,
        &mut bias,
        &mut partial,
    );
    let what = |result: &str| {
        format!(
            "{} {result}: {images} x {pixels} x {channels} {activation:?} {residual:?} {keep:?}",
            E::NAME
        )
    };
    assert_close(&what("gradient"), &gradient, &expected.gradient, map_tolerance::<E>());
    // Values scaled by stochastic depth are rounded before they are summed.
    let sum_tolerance = if keep.is_some() {
        (3.0 * map_tolerance::<E>()).max(SUM_TOLERANCE)
    } else {
        SUM_TOLERANCE
    };
    assert_close(&what("weight gradient"), &weight, &expected.weight, sum_tolerance);
    assert_close(&what("bias gradient"), &bias, &expected.bias, sum_tolerance);
    if residual.is_some() {
        assert_close(
            &what("residual gradient"),
            &residual_gradient,
            &expected.residual,
            map_tolerance::<E>(),
        );
    }
}

#[test]
fn the_mask_of_an_output_that_was_not_kept_is_the_same() {
    on_every_instruction_set("the_mask_of_an_output_that_was_not_kept_is_the_same", || {
        for (pixels, channels) in [(1, 1), (7, 17), (130, 33), (300, 3), (9, 5000)] {
            for activation in [Activation::Identity, Activation::Relu, Activation::Relu6] {
                check_without_output::<f32>(pixels, channels, activation);
                check_without_output::<Bf16>(pixels, channels, activation);
            }
        }
    });
}

/// The mask from the input passes the same gradients as the mask from [`batch_norm::normalize`]'s
/// output, to the bit, and the sums are equal too.
fn check_without_output<E: Element>(pixels: usize, channels: usize, activation: Activation) {
    let length = pixels * channels;
    let [input, gradient] = [1, 2].map(|key| to::<E>(&draw(key, length)));
    // Outputs below, between and above the bounds.
    let (scale, shift) =
        (draw_as(3, channels, |u| 4.0 + 8.0 * u), draw_as(4, channels, |u| 6.0 * u));
    let (mean, inverse) = (draw(5, channels), draw_as(6, channels, |u| 0.5 + u));
    let mut output = vec![E::default(); length];
    batch_norm::normalize(&input, &scale, &shift, None, None, activation, pixels, &mut output);
    let run = |mask: Mask<'_, E>| {
        let mut gradient = gradient.clone();
        let (mut weight, mut bias) = (vec![f32::NAN; channels], vec![f32::NAN; channels]);
        let prologue = BackwardPrologue { mask, residual: None, keep: None };
        batch_norm::backward(
            prologue,
            &input,
            &mut gradient,
            &mean,
            &inverse,
            &mut weight,
            &mut bias,
            &mut Vec::new(),
        );
        (to::<f32>(&gradient), weight, bias)
    };
    let kept = run(Mask::Output(&output, activation));
    let found = run(Mask::Input { scale: &scale, shift: &shift, activation });
    assert!(kept == found, "{}: {pixels} pixels of {channels} channels, {activation:?}", E::NAME);
    if activation != Activation::Identity && length > 100 {
        let passed = kept.0.iter().filter(|&&gradient| gradient != 0.0).count();
        assert!(passed > 0 && passed < length, "the case has both");
    }
}
