//! JPEG, with exactly the levels of libjpeg-turbo (and so of Pillow).
//!
//! Supported are baseline, extended sequential and progressive images with Huffman codes and 8 bits
//! a sample; any order of scans; any integer ratio of the components' resolutions; grey, YCbCr,
//! RGB, CMYK and YCCK. Arithmetic coding, lossless and hierarchical images and 12 bits a sample are
//! not supported.
//!
//! An image can be decoded at a half, a quarter or an eighth of its size without computing the
//! pixels in between: the lowest N x N of a block's 8 x 8 frequencies are the same block in N x N
//! pixels. If chroma is stored at half the resolution, it is then transformed at twice the size.
//!
//! Every fault that costs image data is detected. libjpeg warns about these faults, fills in the
//! missing data and returns an image; here they are errors unless the caller allows them.

mod fault;
mod frame;
mod headers;
mod huffman;
mod pixels;
mod planes;
mod progressive;
mod scan;
mod sequential;
mod standard_tables;

use image::metadata::Orientation;

use super::{DecodeOptions, DecodeReason, Decoded, check_size, convert, orientation};
use crate::RgbImage;
use fault::Fault;
use frame::{Frame, FrameError, Process};
use headers::{Headers, Next, ScanHeader};
pub use pixels::Colours;
use planes::Plane;
use progressive::Progressive;
use scan::Layout;
use sequential::Sequential;

/// The most scans that are read. The most detailed scripts of encoders have a few dozen; each scan
/// of a large image takes time, but only a few bytes of a file.
const MAX_SCANS: usize = 1000;

/// Decodes a file; see [`super::decode_bytes`].
pub fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Decoded, DecodeReason> {
    read(Headers::default(), bytes, options, None)
}

/// Decodes a part of a TIFF, whose tables may be stored separately and whose colours the TIFF
/// states.
pub fn decode_part(
    tables: &[u8],
    bytes: &[u8],
    colours: Colours,
    options: &DecodeOptions,
) -> Result<Decoded, DecodeReason> {
    let mut headers = Headers::default();
    // If tables cannot be read, they are reported as missing later, if they are needed.
    let _ = headers.read(tables);
    read(headers, bytes, options, Some(colours))
}

/// Reads a file after the segments that `headers` already holds. If `colours` is not given, the
/// markers state the colours.
fn read(
    mut headers: Headers,
    bytes: &[u8],
    options: &DecodeOptions,
    colours: Option<Colours>,
) -> Result<Decoded, DecodeReason> {
    let mut rest = bytes;
    let mut image: Option<Image> = None;
    let mut fault = None;
    let mut scans = 0;
    let mut stated = (Orientation::NoTransforms, None);
    let complete = loop {
        let next = match headers.read(rest) {
            Ok(next) => next,
            Err(_) if options.allow_truncated && image.is_some() => {
                fault = fault.or(Some(Fault::Header));
                break true;
            }
            Err(FrameError::Damaged(message)) => return Err(damaged(message)),
            Err(FrameError::Unsupported(message)) => {
                return Err(DecodeReason::Unsupported { format: "JPEG", message });
            }
        };
        if let Some(frame) = headers.frame.as_ref().filter(|_| image.is_none()) {
            check_size("JPEG", frame.size[0] as u32, frame.size[1] as u32, options.max_pixels)?;
        }
        match next {
            Next::End => break true,
            Next::Cut => break false,
            Next::Scan(header, data) => {
                scans += 1;
                if scans > MAX_SCANS {
                    return Err(damaged("it has more than 1000 scans"));
                }
                let image = match &mut image {
                    Some(image) => image,
                    None => {
                        let image = image.insert(Image::new(&headers, options)?);
                        // As in Pillow and libjpeg, metadata and colours behind the first scan do
                        // not count. In a part of a TIFF they mean nothing.
                        if colours.is_none() {
                            let of_file = Colours::of(&image.frame, headers.adobe, headers.jfif);
                            stated = (headers.orientation(), Some(of_file));
                        }
                        image
                    }
                };
                match image.scan(&mut headers, header, data, options.allow_truncated) {
                    Ok((after, found)) => {
                        rest = after;
                        fault = fault.or(found);
                    }
                    Err(found) => {
                        fault = fault.or(Some(found));
                        if !options.allow_truncated {
                            break ends(data);
                        }
                        // The next marker is the one behind this scan's data.
                        rest = data;
                    }
                }
            }
        }
    };
    let Some(image) = image else {
        return Err(if complete {
            damaged("it has no image data")
        } else {
            DecodeReason::Truncated("JPEG")
        });
    };
    let components = image.frame.components.len();
    if colours.is_some_and(|colours| colours.components() != components) {
        return Err(damaged(&format!(
            "it has {components} components, which are not those of its colours"
        )));
    }
    fault = fault.or(image.missing_component());
    if !options.allow_truncated {
        match fault {
            _ if !complete => return Err(DecodeReason::Truncated("JPEG")),
            Some(fault) => return Err(damaged(fault.text())),
            None => {}
        }
    }
    let (orientation, of_file) = stated;
    let colours = colours.or(of_file).ok_or_else(|| damaged("it has no image data"))?;
    Ok(image.finish(colours, orientation, fault.is_some() || !complete))
}

/// The orientation in the metadata, if there is one.
pub fn orientation(bytes: &[u8]) -> Option<Orientation> {
    let mut headers = Headers::default();
    headers.read(bytes).ok()?;
    Some(headers.orientation())
}

impl Headers {
    fn orientation(&self) -> Orientation {
        orientation::orientation(self.exif.as_deref(), self.xmp.as_deref())
    }
}

/// Whether there is an end-of-image marker.
fn ends(data: &[u8]) -> bool {
    data.windows(2).any(|pair| pair == [0xFF, 0xD9])
}

/// An image whose scans are being read.
struct Image {
    frame: Frame,
    planes: Vec<Plane>,
    reduction: u32,
}

impl Image {
    fn new(headers: &Headers, options: &DecodeOptions) -> Result<Self, DecodeReason> {
        let frame = headers
            .frame
            .clone()
            .ok_or_else(|| damaged("its image data come before its frame header"))?;
        let reduction =
            if frame.is_reducible() { options.reduction(short_side(&frame)) } else { 1 };
        let side = 8 / reduction as usize;
        // Grey if parts may lack data; otherwise 0, for which memory need not be written.
        let background = if options.allow_truncated { 128 } else { 0 };
        let plane = |component| {
            let ratio = frame.ratio(component);
            let side = if reduction > 1 { side * ratio[0].max(ratio[1]) } else { side };
            Plane::new(&frame, component, side, background)
                .ok_or_else(|| damaged("its size overflows"))
        };
        let planes = frame.components.iter().map(plane).collect::<Result<_, _>>()?;
        Ok(Self { frame, planes, reduction })
    }

    /// Reads a scan, and returns the data that follow it and a fault if it was tolerated.
    fn scan<'a>(
        &mut self,
        headers: &mut Headers,
        header: &[u8],
        data: &'a [u8],
        lenient: bool,
    ) -> Result<(&'a [u8], Option<Fault>), Fault> {
        let header = ScanHeader::read(&self.frame, header)?;
        let layout = Layout::new(&self.frame, &header, headers.restart_interval);
        // A sequential image has one scan for each component; hundreds would only cost time.
        let has_scan = |&(place, ..): &(usize, usize, usize)| self.planes[place].steps.is_some();
        if self.frame.process == Process::Sequential && header.components.iter().any(has_scan) {
            return Err(Fault::Header);
        }
        for &(place, ..) in &header.components {
            // The tables of a component's first scan apply to all its scans.
            let table = self.frame.components[place].quantisation;
            if self.planes[place].steps.is_none() {
                let steps =
                    headers.steps.get(table).and_then(Option::as_ref).ok_or(Fault::Header)?;
                self.planes[place].steps = Some(planes::in_rows(steps));
            }
        }
        // In the order in which the scan names the components.
        let mut planes: Vec<Option<&mut Plane>> = self.planes.iter_mut().map(Some).collect();
        let components: Vec<_> = header
            .components
            .iter()
            .filter_map(|&(place, dc, ac)| Some((place, planes[place].take()?, dc, ac)))
            .collect();
        match self.frame.process {
            Process::Sequential => {
                headers.fill_in_codes();
                let is_single = components.len() == 1;
                let mut parts = Vec::with_capacity(components.len());
                for (place, plane, dc, ac) in components {
                    let dc = headers.dc.get(dc).and_then(Option::as_ref).ok_or(Fault::Header)?;
                    let ac = headers.ac.get(ac).and_then(Option::as_ref).ok_or(Fault::Header)?;
                    let rows = if is_single { 1 } else { self.frame.components[place].factors[1] };
                    parts.push(sequential::Part { plane, dc, ac, rows, prediction: 0 });
                }
                layout.read(data, &mut Sequential { parts }, lenient)
            }
            Process::Progressive => {
                let [earlier, low] = header.precision;
                let parts = components.into_iter().map(|(_, plane, dc, ac)| {
                    let tables =
                        if header.band[0] == 0 { &headers.dc[..] } else { &headers.ac[..] };
                    let place = if header.band[0] == 0 { dc } else { ac };
                    progressive::Part {
                        plane,
                        table: tables.get(place).and_then(Option::as_ref),
                        prediction: 0,
                    }
                });
                let parts: Vec<_> = parts.collect();
                let needs_table = header.band[0] > 0 || earlier == 0;
                if needs_table && parts.iter().any(|part| part.table.is_none()) {
                    return Err(Fault::Header);
                }
                let mut reader = Progressive {
                    parts,
                    band: header.band,
                    refines: earlier > 0,
                    low,
                    empty_blocks: 0,
                };
                layout.read(data, &mut reader, lenient)
            }
        }
    }

    /// A fault if a component had no scan.
    fn missing_component(&self) -> Option<Fault> {
        self.planes.iter().any(|plane| plane.steps.is_none()).then_some(Fault::Component)
    }

    fn finish(mut self, colours: Colours, orientation: Orientation, truncated: bool) -> Decoded {
        if self.frame.process == Process::Progressive {
            self.planes.iter_mut().for_each(Plane::transform_all);
        }
        let reduction = self.reduction as usize;
        let [width, height] = self.frame.size.map(|pixels| pixels.div_ceil(reduction) as u32);
        let pixels = pixels::rgb(&self.frame, &self.planes, colours, reduction);
        let image = convert::oriented(RgbImage { width, height, pixels }, orientation);
        let reducible_side = if self.frame.is_reducible() { short_side(&self.frame) } else { 0 };
        Decoded { image, truncated, reduction: self.reduction, reducible_side }
    }
}

/// The short side in pixels.
fn short_side(frame: &Frame) -> u32 {
    frame.size[0].min(frame.size[1]) as u32
}

fn damaged(message: &str) -> DecodeReason {
    DecodeReason::Damaged { format: "JPEG", message: message.to_owned() }
}
