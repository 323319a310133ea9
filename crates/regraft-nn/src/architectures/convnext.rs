//! ConvNeXt (Liu et al. 2022) with timm's names.

use super::architecture::Architecture;
use super::builder::{Builder, Geometry};
use crate::graph::{Graph, Source};
use crate::ops::{Function, InitialWeights, Padding};

pub(super) const MEMBERS: &[Architecture] = &[
    Architecture::new(
        "convnext_tiny",
        "82.52",
        "--weights convnext_tiny-983f1562.pth (torchvision) or timm/convnext_tiny.fb_in1k",
        |name| convnext(name, [3, 3, 9, 3], [96, 192, 384, 768], 0.1),
    )
    .sized(224, 236),
    Architecture::new(
        "convnext_small",
        "83.616",
        "--weights convnext_small-0c510722.pth (torchvision) or timm/convnext_small.fb_in1k",
        |name| convnext(name, [3, 3, 27, 3], [96, 192, 384, 768], 0.4),
    )
    .sized(224, 230),
    Architecture::new(
        "convnext_base",
        "84.062",
        "--weights convnext_base-6075fbad.pth (torchvision) or timm/convnext_base.fb_in1k",
        |name| convnext(name, [3, 3, 27, 3], [128, 256, 512, 1024], 0.5),
    )
    .sized(224, 232),
];

/// Initial value of layer scale's factors.
const LAYER_SCALE: f32 = 1e-6;

/// A ConvNeXt with `depths` blocks of `widths` channels in its four stages. The drop rate of
/// branches grows from zero at the first block to `drop_rate` at the last.
fn convnext(architecture: &str, depths: [usize; 4], widths: [usize; 4], drop_rate: f32) -> Graph {
    // There is no batch norm; epsilon is for layer norms.
    let mut builder =
        Builder::new(architecture, 1e-6, 0.0).with_initial(InitialWeights::Normal(0.02));
    builder.biased_convolution("stem.0", Source::Image, patches([3, widths[0]], 4));
    builder.layer_norm("stem.1", widths[0]);
    let last_block = (depths.iter().sum::<usize>() - 1).max(1) as f32;
    let mut index = 0;
    for (stage, (depth, width)) in depths.into_iter().zip(widths).enumerate() {
        if stage > 0 {
            let before = widths[stage - 1];
            let normalized = builder.layer_norm(format!("stages.{stage}.downsample.0"), before);
            builder.biased_convolution(
                format!("stages.{stage}.downsample.1"),
                normalized,
                patches([before, width], 2),
            );
        }
        for block in 0..depth {
            let name = format!("stages.{stage}.blocks.{block}");
            add_block(&mut builder, &name, width, drop_rate * index as f32 / last_block);
            index += 1;
        }
    }
    builder.global_average_pool("head.global_pool");
    builder.layer_norm("head.norm", widths[3]);
    builder.with_head("head.fc", widths[3], 0.0)
}

fn add_block(builder: &mut Builder, name: &str, width: usize, drop_rate: f32) {
    let start = builder.last();
    let filter = Geometry {
        channels: [width; 2],
        kernel: 7,
        stride: 1,
        padding: Padding::Each(3),
        groups: width,
    };
    builder.biased_convolution(format!("{name}.conv_dw"), start, filter);
    builder.layer_norm(format!("{name}.norm"), width);
    builder.linear(format!("{name}.mlp.fc1"), [width, 4 * width]);
    builder.activation(format!("{name}.mlp.act"), Function::Gelu);
    builder.linear(format!("{name}.mlp.fc2"), [4 * width, width]);
    builder.layer_scale(format!("{name}.gamma"), width, LAYER_SCALE);
    builder.add(format!("{name}.add"), start, drop_rate);
}

/// A convolution over adjacent patches.
fn patches(channels: [usize; 2], side: usize) -> Geometry {
    Geometry { channels, kernel: side, stride: side, padding: Padding::Each(0), groups: 1 }
}
