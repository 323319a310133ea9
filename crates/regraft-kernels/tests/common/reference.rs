//! A convolution with its gradients, and a feature map's statistics, by their definitions: plain
//! loops in f64.

use regraft_kernels::convolution::ConvolutionShape;

/// Results in f64; feature maps are `[N, H, W, C]`, and weights are PyTorch's `[out, in / groups,
/// row, column]`.
pub struct Reference {
    pub output: Vec<f64>,
    pub input_gradient: Vec<f64>,
    pub weight_gradient: Vec<f64>,
}

/// Combines every output pixel with every tap of every group's filters.
pub fn convolution(
    shape: &ConvolutionShape,
    input: &[f64],
    weights: &[f64],
    output_gradient: &[f64],
) -> Reference {
    let mut result = Reference {
        output: vec![0.0; shape.output_length()],
        input_gradient: vec![0.0; shape.input_length()],
        weight_gradient: vec![0.0; shape.weight_length()],
    };
    let (ins, outs) = (shape.in_channels / shape.groups, shape.out_channels / shape.groups);
    for pixel in 0..shape.batch * shape.out_height * shape.out_width {
        let (image, row, column) = (
            pixel / shape.out_width / shape.out_height,
            pixel / shape.out_width % shape.out_height,
            pixel % shape.out_width,
        );
        for tap in 0..shape.kernel_height * shape.kernel_width {
            let in_row =
                (row * shape.stride + tap / shape.kernel_width).checked_sub(shape.padding_top);
            let in_column =
                (column * shape.stride + tap % shape.kernel_width).checked_sub(shape.padding_left);
            let (Some(in_row), Some(in_column)) = (in_row, in_column) else { continue };
            if in_row >= shape.in_height || in_column >= shape.in_width {
                continue;
            }
            let in_pixel = (image * shape.in_height + in_row) * shape.in_width + in_column;
            for out in 0..shape.out_channels {
                for channel in 0..ins {
                    let source = in_pixel * shape.in_channels + out / outs * ins + channel;
                    let weight =
                        (out * ins + channel) * shape.kernel_height * shape.kernel_width + tap;
                    let target = pixel * shape.out_channels + out;
                    let gradient = output_gradient[target];
                    result.output[target] += input[source] * weights[weight];
                    result.input_gradient[source] += gradient * weights[weight];
                    result.weight_gradient[weight] += gradient * input[source];
                }
            }
        }
    }
    result
}

/// Mean and variance (divided by the number of pixels) of each channel of a feature map.
pub fn statistics(map: &[f64], channels: usize) -> (Vec<f64>, Vec<f64>) {
    let pixels = (map.len() / channels) as f64;
    let of_channel = |channel: usize| map[channel..].iter().step_by(channels);
    let mean: Vec<f64> =
        (0..channels).map(|channel| of_channel(channel).sum::<f64>() / pixels).collect();
    let square = |channel: usize| {
        of_channel(channel).map(|value| (value - mean[channel]).powi(2)).sum::<f64>() / pixels
    };
    let variance = (0..channels).map(square).collect();
    (mean, variance)
}
