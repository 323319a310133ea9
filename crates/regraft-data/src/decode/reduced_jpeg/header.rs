//! The headers of a baseline JPEG.

use super::entropy::Table;

/// What the headers say.
pub struct Header<'a> {
    pub width: usize,
    pub height: usize,
    /// The largest sampling factors of all components, across and down.
    pub most: [usize; 2],
    /// Groups of blocks that are stored together, across and down.
    pub units: [usize; 2],
    /// One (grey) or three.
    pub components: Vec<Component>,
    /// Whether three components are luma and two colours, not red, green and blue.
    pub is_ycbcr: bool,
    /// Groups between two restart markers; 0 where there are none.
    pub restart_interval: usize,
    /// What follows the headers.
    pub scan: &'a [u8],
}

/// One component of the picture.
pub struct Component {
    identifier: u8,
    /// Blocks in a group, across and down.
    pub factors: [usize; 2],
    quantisation: u8,
    /// What each frequency is multiplied by, in zigzag order.
    pub steps: [f32; 64],
    /// Codes of the mean.
    pub dc: Table,
    /// Codes of the other frequencies.
    pub ac: Table,
}

impl<'a> Header<'a> {
    /// Reads up to the scan. `None` where the picture is not of the kind that is decoded here.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(&[0xFF, 0xD8])?;
        let mut steps: [Option<[f32; 64]>; 4] = [None; 4];
        let mut tables: [[Option<Table>; 4]; 2] = Default::default();
        let mut frame: Option<(usize, usize, Vec<Component>)> = None;
        let mut restart_interval = 0;
        let (mut adobe, mut jfif) = (None, false);
        loop {
            while let [0xFF, 0xFF, ..] = rest {
                rest = &rest[1..];
            }
            let (&[0xFF, marker, high, low], _) = rest.split_first_chunk()? else { return None };
            let length = usize::from(u16::from_be_bytes([high, low]));
            let mut segment = rest.get(4..2 + length)?;
            rest = &rest[2 + length..];
            match marker {
                0xDB => {
                    while let Some((&kind, after)) = segment.split_first() {
                        let (values, after) = if kind >> 4 == 0 {
                            let (values, after) = after.split_first_chunk::<64>()?;
                            (values.map(f32::from), after)
                        } else {
                            let (values, after) = after.split_first_chunk::<128>()?;
                            let values = values.as_chunks::<2>().0;
                            (std::array::from_fn(|place| f32::from(u16::from_be_bytes(values[place]))), after)
                        };
                        *steps.get_mut(usize::from(kind & 15))? = Some(values);
                        segment = after;
                    }
                }
                0xC4 => {
                    while let Some((&kind, after)) = segment.split_first() {
                        let (counts, after) = after.split_first_chunk::<16>()?;
                        let number = counts.iter().map(|&count| usize::from(count)).sum();
                        let symbols = after.get(..number)?;
                        let place = tables.get_mut(usize::from(kind >> 4))?.get_mut(usize::from(kind & 15))?;
                        *place = Some(Table::new(counts, symbols)?);
                        segment = &after[number..];
                    }
                }
                // Baseline, and extended sequential with the same codes.
                0xC0 | 0xC1 if frame.is_none() => frame = Some(read_frame(segment)?),
                0xDD => restart_interval = usize::from(u16::from_be_bytes(*segment.first_chunk()?)),
                0xE0 => jfif |= segment.starts_with(b"JFIF\0"),
                0xEE if segment.starts_with(b"Adobe") => adobe = segment.get(11).copied(),
                0xDA => {
                    let (width, height, components) = frame?;
                    let components = assign(components, segment, &steps, &tables)?;
                    let rgb_by_name = components.iter().map(|component| component.identifier).eq(*b"RGB");
                    let is_ycbcr = jfif || adobe.map_or(!rgb_by_name, |transform| transform != 0);
                    return Self::new(width, height, components, is_ycbcr, restart_interval, rest);
                }
                // Comments and what programs add.
                0xE1..=0xED | 0xEF | 0xEE | 0xFE => {}
                // Progressive, lossless and arithmetic-coded frames, and what nobody writes.
                _ => return None,
            }
        }
    }

    fn new(
        width: usize,
        height: usize,
        mut components: Vec<Component>,
        is_ycbcr: bool,
        restart_interval: usize,
        scan: &'a [u8],
    ) -> Option<Self> {
        if let [only] = &mut components[..] {
            // The blocks of a single component are stored in plain order.
            only.factors = [1, 1];
        }
        let most = [0, 1].map(|way| components.iter().map(|component| component.factors[way]).max().unwrap_or(1));
        if components.iter().any(|component| {
            [0, 1]
                .iter()
                .any(|&way| ![1, 2].contains(&(most[way] / component.factors[way])) || most[way] % component.factors[way] != 0)
        }) {
            return None;
        }
        let units = [width.div_ceil(8 * most[0]), height.div_ceil(8 * most[1])];
        Some(Self { width, height, most, units, components, is_ycbcr, restart_interval, scan })
    }
}

fn read_frame(segment: &[u8]) -> Option<(usize, usize, Vec<Component>)> {
    let (&[8, high, low, wide, narrow, count], rest) = segment.split_first_chunk()? else { return None };
    let [height, width] = [[high, low], [wide, narrow]].map(|side| usize::from(u16::from_be_bytes(side)));
    if width == 0 || height == 0 || ![1, 3].contains(&count) || rest.len() != usize::from(count) * 3 {
        return None;
    }
    let components = rest.as_chunks::<3>().0.iter().map(|&[identifier, factors, quantisation]| {
        let factors = [usize::from(factors >> 4), usize::from(factors & 15)];
        let fine = factors.iter().all(|factor| (1..=4).contains(factor));
        fine.then(|| Component { identifier, factors, quantisation, steps: [0.0; 64], dc: Table::empty(), ac: Table::empty() })
    });
    Some((width, height, components.collect::<Option<_>>()?))
}

/// Gives each component its steps and codes. The one scan must hold all components, with all frequencies at full precision.
fn assign(
    mut components: Vec<Component>,
    segment: &[u8],
    steps: &[Option<[f32; 64]>; 4],
    tables: &[[Option<Table>; 4]; 2],
) -> Option<Vec<Component>> {
    let (&count, rest) = segment.split_first()?;
    let (selectors, end) = rest.split_at_checked(usize::from(count) * 2)?;
    if usize::from(count) != components.len() || end != [0, 63, 0] {
        return None;
    }
    for (component, &[identifier, codes]) in components.iter_mut().zip(selectors.as_chunks::<2>().0) {
        if component.identifier != identifier {
            return None;
        }
        component.steps = (*steps.get(usize::from(component.quantisation))?)?;
        component.dc = tables[0].get(usize::from(codes >> 4))?.clone()?;
        component.ac = tables[1].get(usize::from(codes & 15))?.clone()?;
    }
    Some(components)
}
