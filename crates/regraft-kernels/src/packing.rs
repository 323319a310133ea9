//! A convolution's weights, packed for its matrix products.

#[cfg(target_arch = "x86_64")]
use crate::direct;
use crate::element::{Bf16, CopyFrom, Element};
use crate::gemm::{Matrix, Operand, Packed};
use crate::isa::active;
use crate::scratch::with_scratch;
use crate::shape::ConvolutionShape;
use crate::winograd;
use rayon::prelude::*;

/// The type of the feature maps that convolutions multiply.
pub trait MapElement: Element {
    /// The operands of the products if the processor multiplies this type; otherwise they are f32.
    type Native: PackedOperand + CopyFrom<Self>;

    /// Whether products use [`Self::Native`].
    fn multiplies_natively() -> bool;
}

impl MapElement for f32 {
    type Native = Self;

    fn multiplies_natively() -> bool {
        true
    }
}

impl MapElement for Bf16 {
    type Native = Self;

    fn multiplies_natively() -> bool {
        active().multiplies_bf16()
    }
}

/// Operands that [`PackedWeights`] can hold.
pub trait PackedOperand: Operand {
    /// The weights packed for these operands.
    fn packing(weights: &PackedWeights) -> &Packing<Self>;

    /// Like [`Self::packing`], for packing again.
    fn packing_mut(weights: &mut PackedWeights) -> &mut Packing<Self>;
}

impl PackedOperand for f32 {
    fn packing(weights: &PackedWeights) -> &Packing<Self> {
        &weights.f32
    }

    fn packing_mut(weights: &mut PackedWeights) -> &mut Packing<Self> {
        &mut weights.f32
    }
}

impl PackedOperand for Bf16 {
    fn packing(weights: &PackedWeights) -> &Packing<Self> {
        &weights.bf16
    }

    fn packing_mut(weights: &mut PackedWeights) -> &mut Packing<Self> {
        &mut weights.bf16
    }
}

/// A layer's weights in the form that the forward and backward kernels of convolution read, packed
/// once for many calls, for either type of operands.
#[derive(Clone, Debug, Default)]
pub struct PackedWeights {
    pub(crate) f32: Packing<f32>,
    pub(crate) bf16: Packing<Bf16>,
    /// For bf16 if AMX multiplies it.
    #[cfg(target_arch = "x86_64")]
    pub(crate) panels: direct::Panels,
}

/// Weights packed for products of `O`.
#[derive(Clone, Debug)]
pub enum Packing<O> {
    /// A matrix `[patch, out channels of the group]` for each group.
    Groups(Vec<Packed<O>>),
    /// If [`winograd`] supports the shape.
    Winograd(winograd::Weights<O>),
}

impl<O> Default for Packing<O> {
    fn default() -> Self {
        Self::Groups(Vec::new())
    }
}

impl<O: Operand> Packing<O> {
    fn take(&mut self) -> Vec<Packed<O>> {
        match std::mem::take(self) {
            Self::Groups(matrices) => matrices,
            Self::Winograd(weights) => weights.into_matrices(),
        }
    }

    fn pack(&mut self, shape: &ConvolutionShape, weights: &[f32]) {
        let mut matrices = self.take();
        *self = if winograd::handles(shape) {
            let mut packed = winograd::Weights::reusing(matrices);
            packed.pack(shape, weights);
            Self::Winograd(packed)
        } else {
            let (depth, columns) = (shape.patch_length(), shape.out_channels / shape.groups);
            pack_groups(&mut matrices, weights, depth, columns, |weights| Matrix::Columns {
                data: weights,
                stride: depth,
            });
            Self::Groups(matrices)
        };
    }

    /// Packs the weights for [transposed](ConvolutionShape::transposed) convolutions.
    fn pack_transposed(&mut self, shape: &ConvolutionShape, weights: &[f32]) {
        let mut matrices = self.take();
        let transposed = shape.transposed();
        let (depth, columns) = (transposed.patch_length(), shape.in_channels / shape.groups);
        *self = if winograd::handles(&transposed) {
            let mut packed = winograd::Weights::reusing(matrices);
            packed.pack_transposed(&transposed, weights);
            Self::Winograd(packed)
        } else if shape.kernel_height * shape.kernel_width == 1 {
            pack_groups(&mut matrices, weights, depth, columns, |weights| Matrix::Rows {
                data: weights,
                stride: columns,
            });
            Self::Groups(matrices)
        } else {
            with_scratch(weights.len(), |rotated| {
                rotate(shape, weights, rotated);
                pack_groups(&mut matrices, rotated, depth, columns, |weights| Matrix::Columns {
                    data: weights,
                    stride: depth,
                });
            });
            Self::Groups(matrices)
        };
    }
}

/// Packs a `[depth, columns]` matrix of each group's weights.
fn pack_groups<O: Operand>(
    matrices: &mut Vec<Packed<O>>,
    weights: &[f32],
    depth: usize,
    columns: usize,
    matrix: impl Fn(&[f32]) -> Matrix<'_> + Sync,
) {
    let groups = weights.par_chunks_exact(depth * columns);
    matrices.resize_with(groups.len(), Packed::default);
    matrices
        .par_iter_mut()
        .zip(groups)
        .for_each(|(packed, weights)| packed.pack(matrix(weights), depth, columns));
}

impl PackedWeights {
    /// Packs `weights` for convolutions like `shape` on feature maps of `E`, of any batch and size,
    /// reusing memory.
    pub fn pack<E: MapElement>(&mut self, shape: &ConvolutionShape, weights: &[f32]) {
        #[cfg(target_arch = "x86_64")]
        if direct::amx_for::<E>(shape).is_some() {
            return direct::pack(&mut self.panels, shape, weights);
        }
        self.pack_for_products::<E>(shape, weights);
    }

    /// Like [`Self::pack`], always for matrix products.
    pub(crate) fn pack_for_products<E: MapElement>(
        &mut self,
        shape: &ConvolutionShape,
        weights: &[f32],
    ) {
        if E::multiplies_natively() {
            E::Native::packing_mut(self).pack(shape, weights);
        } else {
            f32::packing_mut(self).pack(shape, &rounded::<E>(weights));
        }
    }

    /// Like [`Self::pack`], for the convolution that turns the output's gradient into the input's
    /// ([`ConvolutionShape::transposed`]).
    pub(crate) fn pack_transposed<E: MapElement>(
        &mut self,
        shape: &ConvolutionShape,
        weights: &[f32],
    ) {
        #[cfg(target_arch = "x86_64")]
        if direct::amx_for::<E>(shape).is_some() {
            return direct::pack_transposed(&mut self.panels, shape, weights);
        }
        if E::multiplies_natively() {
            E::Native::packing_mut(self).pack_transposed(shape, weights);
        } else {
            f32::packing_mut(self).pack_transposed(shape, &rounded::<E>(weights));
        }
    }
}

/// The values rounded to `E`.
pub(crate) fn rounded<E: Element>(values: &[f32]) -> Vec<f32> {
    values.iter().map(|&value| E::from_f32(value).to_f32()).collect()
}

/// Writes the kernel rotated by 180 degrees, with input and output channels swapped.
fn rotate(shape: &ConvolutionShape, weights: &[f32], rotated: &mut [f32]) {
    /// Input channels in one task: a cache line of each filter's tap.
    const CHANNELS: usize = 16;
    let (ins, outs) = (shape.in_channels / shape.groups, shape.out_channels / shape.groups);
    let taps = shape.kernel_height * shape.kernel_width;
    for (weights, rotated) in
        weights.chunks_exact(outs * taps * ins).zip(rotated.chunks_exact_mut(outs * taps * ins))
    {
        rotated.par_chunks_mut(CHANNELS * taps * outs).enumerate().for_each(|(block, rotated)| {
            for (tap, out) in (0..taps).flat_map(|tap| (0..outs).map(move |out| (tap, out))) {
                let filter = &weights[(out * taps + tap) * ins + block * CHANNELS..];
                for (channel, row) in rotated.chunks_exact_mut(taps * outs).enumerate() {
                    row[(taps - 1 - tap) * outs + out] = filter[channel];
                }
            }
        });
    }
}
