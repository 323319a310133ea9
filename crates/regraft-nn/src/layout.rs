//! The order in which kernels of maps `[N, H, W, C]` keep the elements of weights.

/// The order in which the kernels keep a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// PyTorch's own.
    AsIs,
    /// `[out, height, width, in]` for PyTorch's `[out, in, height, width]`.
    ChannelsLast,
    /// `[height, width, channel]` for PyTorch's `[channel, 1, height, width]`.
    Depthwise,
}

impl Layout {
    /// Reorders the elements of a tensor with PyTorch's `shape` from PyTorch's order to the
    /// kernels'.
    #[must_use]
    pub fn to_kernel_order(self, shape: &[usize], values: &[f32]) -> Vec<f32> {
        self.reorder(shape, values, |pytorch, kernel, source, target| {
            target[kernel] = source[pytorch]
        })
    }

    /// Reorders elements from the kernels' order to PyTorch's.
    #[must_use]
    pub fn to_pytorch_order(self, shape: &[usize], values: &[f32]) -> Vec<f32> {
        self.reorder(shape, values, |pytorch, kernel, source, target| {
            target[pytorch] = source[kernel]
        })
    }

    fn reorder(
        self,
        shape: &[usize],
        values: &[f32],
        put: impl Fn(usize, usize, &[f32], &mut [f32]),
    ) -> Vec<f32> {
        let (&[outs, ins, height, width], false) = (shape, self == Self::AsIs) else {
            return values.to_vec();
        };
        let mut target = vec![0.0; values.len()];
        let taps = height * width;
        for out in 0..outs {
            for channel in 0..ins {
                for tap in 0..taps {
                    let kernel = match self {
                        Self::Depthwise => tap * outs + out,
                        _ => (out * taps + tap) * ins + channel,
                    };
                    put((out * ins + channel) * taps + tap, kernel, values, &mut target);
                }
            }
        }
        target
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_each_others_inverse() {
        for (shape, layout) in [
            (vec![2, 3, 2, 2], Layout::ChannelsLast),
            (vec![4, 1, 3, 3], Layout::ChannelsLast),
            (vec![4, 1, 3, 3], Layout::Depthwise),
            (vec![5, 7], Layout::AsIs),
        ] {
            let values: Vec<f32> =
                (0..shape.iter().product()).map(|value: usize| value as f32).collect();
            assert_eq!(
                layout.to_pytorch_order(&shape, &layout.to_kernel_order(&shape, &values)),
                values
            );
        }
        assert_eq!(
            Layout::ChannelsLast.to_kernel_order(&[1, 2, 1, 2], &[0.0, 1.0, 10.0, 11.0]),
            [0.0, 10.0, 1.0, 11.0]
        );
        assert_eq!(
            Layout::Depthwise.to_kernel_order(&[2, 1, 1, 2], &[0.0, 1.0, 10.0, 11.0]),
            [0.0, 10.0, 1.0, 11.0]
        );
    }
}
