//! Tests that AVX-512 and NEON give the same bits as AVX2, except for products of bf16 in hardware:
//! each set is compared with one hash, which AVX2 gave.

mod common;

use common::{Kernels, convolution_shape, draw, on_instruction_sets, to};
use regraft_kernels::attention::{self, AttentionShape};
use regraft_kernels::element::{Bf16, Element};
use regraft_kernels::functions::{self, Function};
use regraft_kernels::input::Input;
use regraft_kernels::isa::{self, InstructionSet};
use regraft_kernels::packing::MapElement;
use regraft_kernels::{layer_norm, linear};

const OF_F32: u64 = 0x1658_732c_68cb_f908;
const OF_BF16: u64 = 0xbdf3_f480_1246_0bf2;

/// FNV-1a over the bits of values.
struct Hash(u64);

impl Hash {
    fn add(&mut self, values: &[impl Element]) {
        for byte in values.iter().flat_map(|value| value.to_f32().to_bits().to_le_bytes()) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

fn hash<E: MapElement>() -> u64 {
    let mut hash = Hash(0xcbf2_9ce4_8422_2325);
    for shape in [
        convolution_shape([2, 9, 7, 20], 33, [3, 3], 1, [1; 4], 1),
        convolution_shape([1, 7, 5, 35], 40, [1, 1], 1, [0; 4], 1),
        // Winograd's algorithm, with small tiles and with large ones.
        convolution_shape([2, 7, 9, 32], 48, [3, 3], 1, [1; 4], 1),
        convolution_shape([1, 21, 18, 32], 16, [3, 3], 1, [1; 4], 1),
        convolution_shape([1, 13, 11, 3], 17, [7, 7], 2, [3; 4], 1),
        convolution_shape([1, 9, 9, 12], 18, [3, 3], 2, [0, 1, 0, 1], 3),
        convolution_shape([1, 9, 8, 35], 35, [3, 3], 1, [1; 4], 35),
        convolution_shape([1, 9, 8, 35], 35, [5, 5], 2, [2; 4], 35),
    ] {
        let (input, gradient) =
            (to::<E>(&draw(1, shape.input_length())), to::<E>(&draw(3, shape.output_length())));
        for kernels in Kernels::of(&shape) {
            let weights = kernels.to_kernel_order(&shape, &draw(2, shape.weight_length()));
            let (output, statistics) = kernels.forward_with_statistics(&shape, &input, &weights);
            hash.add(&output);
            hash.add(&statistics.mean);
            hash.add(&statistics.variance);
            hash.add(&kernels.backward_input(&shape, &gradient, &weights, None));
            hash.add(&kernels.backward_weights(&shape, &input, &gradient));
        }
    }
    for function in Function::ALL {
        let values = to::<E>(&draw(4, 600));
        let mut output = vec![E::default(); values.len()];
        functions::forward(function, Input::from(&values), 30, &mut output);
        hash.add(&output);
    }
    let shape = AttentionShape { tokens: 70, heads: 2, channels: 12 };
    let maps = to::<E>(&draw(5, 3 * 70 * 24));
    let mut output = vec![E::default(); 70 * 24];
    attention::forward(shape, &maps, &mut output, &mut Vec::new());
    hash.add(&output);
    let mut input_gradient = vec![E::default(); maps.len()];
    let partial = &mut Vec::new();
    attention::backward(shape, &maps, &output, &mut input_gradient, false, partial);
    hash.add(&input_gradient);
    let (weight, bias) = (draw(6, 24), draw(7, 24));
    let (mut normalised, mut saved) = (vec![E::default(); output.len()], Vec::new());
    layer_norm::forward(&output, &weight, &bias, 1e-6, &mut normalised, &mut saved);
    hash.add(&normalised);
    let (features, weights, bias) = (draw(1, 60 * 70), draw(2, 45 * 70), draw(3, 45));
    let mut logits = vec![0.0; 60 * 45];
    linear::forward(&features, &weights, &bias, 70, &mut logits);
    hash.add(&logits);
    hash.0
}

#[test]
fn avx512_and_neon_give_the_bits_of_avx2() {
    let sets = [
        InstructionSet::Avx2,
        InstructionSet::Avx512,
        InstructionSet::Neon,
        InstructionSet::NeonBf16,
    ];
    on_instruction_sets(&sets, "avx512_and_neon_give_the_bits_of_avx2", || {
        let set = isa::in_use().expect("a set");
        assert_eq!(hash::<f32>(), OF_F32, "f32 on {}", set.name());
        if !set.multiplies_bf16() {
            assert_eq!(hash::<Bf16>(), OF_BF16, "bf16 on {}", set.name());
        }
    });
}
