//! Vision transformers with timm's names: ViT (Dosovitskiy et al. 2020), DeiT (Touvron et al. 2020)
//! and DINOv2 (Oquab et al. 2023), which has layer scale and may have registers (Darcet et al.
//! 2023).

use super::architecture::Architecture;
use super::builder::{Builder, Geometry};
use crate::graph::{Graph, Source};
use crate::ops::{Function, InitialWeights, Padding, Tokens};

/// Blocks of all sizes.
const DEPTH: usize = 12;
/// Channels of a head of all sizes.
const HEAD_CHANNELS: usize = 64;
const TINY: usize = 192;
const SMALL: usize = 384;
const BASE: usize = 768;
/// Initial value of DINOv2's layer scale.
const LAYER_SCALE: f32 = 1e-5;

/// ViT with the weights of Steiner et al. 2021, trained on ImageNet-21k and then on ImageNet.
const fn vit(
    name: &'static str,
    accuracy: &'static str,
    weights: &'static str,
    build: fn(&str) -> Graph,
) -> Architecture {
    Architecture::new(name, accuracy, weights, build).bicubic().sized(224, 248).normalized(0.5, 0.5)
}

const fn deit(
    name: &'static str,
    accuracy: &'static str,
    weights: &'static str,
    build: fn(&str) -> Graph,
) -> Architecture {
    Architecture::new(name, accuracy, weights, build).bicubic().sized(224, 248)
}

/// DINOv2, whose accuracy is that of a linear head on its features, by its authors.
const fn dinov2(
    name: &'static str,
    accuracy: &'static str,
    weights: &'static str,
    build: fn(&str) -> Graph,
) -> Architecture {
    Architecture::new(name, accuracy, weights, build).bicubic()
}

pub(super) const MEMBERS: &[Architecture] = &[
    vit(
        "vit_tiny_patch16_224",
        "75.452",
        "--weights timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k",
        |name| Variant::plain(TINY, 16).graph(name),
    ),
    vit(
        "vit_small_patch16_224",
        "81.402",
        "--weights timm/vit_small_patch16_224.augreg_in21k_ft_in1k",
        |name| Variant::plain(SMALL, 16).graph(name),
    ),
    vit(
        "vit_small_patch32_224",
        "76.010",
        "--weights timm/vit_small_patch32_224.augreg_in21k_ft_in1k",
        |name| Variant::plain(SMALL, 32).graph(name),
    ),
    vit(
        "vit_base_patch16_224",
        "84.534",
        "--weights timm/vit_base_patch16_224.augreg_in21k_ft_in1k",
        |name| Variant::plain(BASE, 16).graph(name),
    ),
    vit(
        "vit_base_patch32_224",
        "80.732",
        "--weights timm/vit_base_patch32_224.augreg_in21k_ft_in1k",
        |name| Variant::plain(BASE, 32).graph(name),
    ),
    deit(
        "deit_tiny_patch16_224",
        "72.190",
        "--weights timm/deit_tiny_patch16_224.fb_in1k",
        |name| Variant::plain(TINY, 16).graph(name),
    ),
    deit(
        "deit_small_patch16_224",
        "79.856",
        "--weights timm/deit_small_patch16_224.fb_in1k",
        |name| Variant::plain(SMALL, 16).graph(name),
    ),
    deit(
        "deit_base_patch16_224",
        "81.980",
        "--weights timm/deit_base_patch16_224.fb_in1k",
        |name| Variant::plain(BASE, 16).graph(name),
    ),
    dinov2(
        "vit_small_patch14_dinov2",
        "81.1",
        "--weights timm/vit_small_patch14_dinov2.lvd142m",
        |name| Variant::dinov2(SMALL, 0).graph(name),
    ),
    dinov2(
        "vit_base_patch14_dinov2",
        "84.5",
        "--weights timm/vit_base_patch14_dinov2.lvd142m",
        |name| Variant::dinov2(BASE, 0).graph(name),
    ),
    dinov2(
        "vit_small_patch14_reg4_dinov2",
        "80.9",
        "--weights timm/vit_small_patch14_reg4_dinov2.lvd142m",
        |name| Variant::dinov2(SMALL, 4).graph(name),
    ),
    dinov2(
        "vit_base_patch14_reg4_dinov2",
        "84.6",
        "--weights timm/vit_base_patch14_reg4_dinov2.lvd142m",
        |name| Variant::dinov2(BASE, 4).graph(name),
    ),
];

/// The differences between the networks.
struct Variant {
    /// Channels of a token.
    channels: usize,
    /// Side of a patch in pixels.
    patch: usize,
    /// Number of registers. With any, the class token has no position embedding.
    registers: usize,
    /// Whether each branch ends with a layer scale.
    scales: bool,
}

impl Variant {
    fn plain(channels: usize, patch: usize) -> Self {
        Self { channels, patch, registers: 0, scales: false }
    }

    fn dinov2(channels: usize, registers: usize) -> Self {
        Self { channels, patch: 14, registers, scales: true }
    }

    /// The network with 1000 classes, whose features are the normalised class token.
    fn graph(&self, architecture: &str) -> Graph {
        let &Self { channels, patch, registers, .. } = self;
        // There is no batch norm; epsilon is for layer norms.
        let mut builder =
            Builder::new(architecture, 1e-6, 0.0).with_initial(InitialWeights::Normal(0.02));
        let patches = Geometry {
            channels: [3, channels],
            kernel: patch,
            stride: patch,
            padding: Padding::Each(0),
            groups: 1,
        };
        builder.biased_convolution("patch_embed.proj", Source::Image, patches);
        let embeds_before = registers == 0;
        let tokens = Tokens { channels, patch, registers, embeds_before, stream: 0 };
        builder.tokens("tokens", tokens);
        for block in 0..DEPTH {
            self.add_block(&mut builder, &format!("blocks.{block}"));
        }
        // timm normalises all tokens and takes the first of them.
        builder.class_token("class_token");
        builder.layer_norm("norm", channels);
        builder.with_head("head", channels, 0.0)
    }

    fn add_block(&self, builder: &mut Builder, name: &str) {
        let channels = self.channels;
        let start = builder.last();
        builder.layer_norm(format!("{name}.norm1"), channels);
        builder.linear(format!("{name}.attn.qkv"), [channels, 3 * channels]);
        builder.attention(format!("{name}.attn"), channels / HEAD_CHANNELS);
        builder.linear(format!("{name}.attn.proj"), [channels, channels]);
        self.end_branch(builder, name, 1, start);
        let middle = builder.last();
        builder.layer_norm(format!("{name}.norm2"), channels);
        builder.linear(format!("{name}.mlp.fc1"), [channels, 4 * channels]);
        builder.activation(format!("{name}.mlp.act"), Function::Gelu);
        builder.linear(format!("{name}.mlp.fc2"), [4 * channels, channels]);
        self.end_branch(builder, name, 2, middle);
    }

    fn end_branch(&self, builder: &mut Builder, name: &str, number: usize, residual: Source) {
        if self.scales {
            builder.layer_scale(format!("{name}.ls{number}.gamma"), self.channels, LAYER_SCALE);
        }
        builder.add(format!("{name}.add{number}"), residual, 0.0);
    }
}
