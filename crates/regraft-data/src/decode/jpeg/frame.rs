//! The frame: the image's size, its components and the layout of their blocks.

/// How the frame's frequencies are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// Whole blocks, in one scan for each component.
    Sequential,
    /// In several scans that refine each other.
    Progressive,
}

/// The frame header.
#[derive(Clone, Debug)]
pub struct Frame {
    pub process: Process,
    /// Width and height in pixels.
    pub size: [usize; 2],
    /// The largest sampling factors of all components, across and down.
    pub most: [usize; 2],
    pub components: Vec<Component>,
}

/// One component of the image.
#[derive(Clone, Debug)]
pub struct Component {
    pub identifier: u8,
    /// Sampling factors: the component's blocks in a unit of interleaved components, across and
    /// down.
    pub factors: [usize; 2],
    /// Number of its quantisation table.
    pub quantisation: usize,
    /// Its width and height in samples.
    pub size: [usize; 2],
    /// Number of blocks that cover it, across and down.
    pub blocks: [usize; 2],
}

/// An unusable header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameError {
    Damaged(&'static str),
    Unsupported(String),
}

impl Frame {
    /// Reads the content of a frame header.
    pub fn read(process: Process, segment: &[u8]) -> Result<Self, FrameError> {
        let damaged = FrameError::Damaged("its frame header is incomplete");
        let Some((&[bits, high, low, wide, narrow, count], rest)) = segment.split_first_chunk()
        else {
            return Err(damaged);
        };
        let [height, width] =
            [[high, low], [wide, narrow]].map(|side| usize::from(u16::from_be_bytes(side)));
        if bits != 8 {
            return Err(FrameError::Unsupported(format!("{bits} bits a sample")));
        }
        if height == 0 {
            return Err(FrameError::Unsupported("the height follows the image data".to_owned()));
        }
        if width == 0 {
            return Err(FrameError::Damaged("its width is 0"));
        }
        if ![1, 3, 4].contains(&count) {
            return Err(FrameError::Unsupported(format!("{count} components")));
        }
        if rest.len() < usize::from(count) * 3 {
            return Err(damaged);
        }
        let mut components = Vec::with_capacity(usize::from(count));
        for &[identifier, factors, quantisation] in &rest.as_chunks::<3>().0[..usize::from(count)] {
            let factors = [usize::from(factors >> 4), usize::from(factors & 15)];
            if factors.iter().any(|factor| !(1..=4).contains(factor)) {
                return Err(FrameError::Damaged("its sampling factors are not between 1 and 4"));
            }
            let quantisation = usize::from(quantisation);
            components.push(Component {
                identifier,
                factors,
                quantisation,
                size: [0; 2],
                blocks: [0; 2],
            });
        }
        let most = [0, 1].map(|way| {
            components.iter().map(|component| component.factors[way]).max().unwrap_or(1)
        });
        for component in &mut components {
            for way in [0, 1] {
                if most[way] % component.factors[way] != 0 {
                    let message = "one component's resolution is not an integer multiple of \
                            another's"
                        .to_owned();
                    return Err(FrameError::Unsupported(message));
                }
                component.size[way] =
                    ([width, height][way] * component.factors[way]).div_ceil(most[way]);
                component.blocks[way] = component.size[way].div_ceil(8);
            }
        }
        Ok(Self { process, size: [width, height], most, components })
    }

    /// Number of units of interleaved components that cover the image, across and down.
    pub fn units(&self) -> [usize; 2] {
        [0, 1].map(|way| self.size[way].div_ceil(8 * self.most[way]))
    }

    /// Image pixels for each of a component's samples, across and down.
    pub fn ratio(&self, component: &Component) -> [usize; 2] {
        [0, 1].map(|way| self.most[way] / component.factors[way])
    }

    /// Whether the image can be decoded at reduced size: chroma must be stored at full or half
    /// resolution.
    pub fn is_reducible(&self) -> bool {
        self.components
            .iter()
            .all(|component| self.ratio(component).iter().all(|&ratio| ratio <= 2))
    }
}
