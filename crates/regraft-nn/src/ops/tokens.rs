//! The tokens that a transformer reads.

use super::{InitialWeights, Needs, Rules};
use crate::shape::MapShape;
use crate::tensor::{Role, Tensor};

/// Standard deviation of the first position embeddings.
const POSITION_DEVIATION: f32 = 0.02;
/// Standard deviation of the first values of the learned tokens.
const TOKEN_DEVIATION: f32 = 1e-6;

/// A learned class token (Dosovitskiy et al. 2020) and registers (Darcet et al. 2023) before the
/// patches, and a learned embedding of each position added to them. Reads a feature map, each of
/// whose pixels is a patch; the output has one column, with a token in each row.
///
/// The tensors have timm's names, without the node's: `cls_token`, `reg_token` and `pos_embed`.
#[derive(Clone, Debug, PartialEq)]
pub struct Tokens {
    /// Channels of a token.
    pub channels: usize,
    /// Side of a patch in pixels of the image; the number of position embeddings follows from it.
    pub patch: usize,
    /// Number of registers, which follow the class token.
    pub registers: usize,
    /// Whether the tokens before the patches have position embeddings too.
    pub embeds_before: bool,
    /// Number of the random stream of the initial values.
    pub stream: u32,
}

impl Tokens {
    /// Tokens before the patches.
    #[must_use]
    pub fn before(&self) -> usize {
        1 + self.registers
    }

    /// The first token with a position embedding.
    #[must_use]
    pub fn first_embedded(&self) -> usize {
        if self.embeds_before { 0 } else { self.before() }
    }
}

impl Rules for Tokens {
    fn kind(&self) -> &'static str {
        "tokens"
    }

    fn output_shape(&self, inputs: &[MapShape]) -> Option<MapShape> {
        let patches = inputs[0].pixels();
        (patches > 0).then_some(MapShape { height: self.before() + patches, width: 1, ..inputs[0] })
    }

    fn tensors(&self, _node: &str, image_size: usize) -> Vec<Tensor> {
        let positions =
            (image_size / self.patch).pow(2) + if self.embeds_before { self.before() } else { 0 };
        let tensor = |name: &str, role, tokens| {
            Tensor::new(name.to_owned(), role, vec![1, tokens, self.channels])
        };
        let mut tensors = vec![tensor("cls_token", Role::ClassToken, 1)];
        if self.registers > 0 {
            tensors.push(tensor("reg_token", Role::Registers, self.registers));
        }
        tensors.push(tensor("pos_embed", Role::Positions, positions));
        tensors
    }

    fn initial(&self, tensor: &Tensor, seed: u64) -> Vec<f32> {
        let deviation =
            if tensor.role == Role::Positions { POSITION_DEVIATION } else { TOKEN_DEVIATION };
        InitialWeights::Normal(deviation).draw(&tensor.shape, seed, self.stream)
    }

    fn backward_needs(&self) -> Needs {
        Needs::default()
    }
}
