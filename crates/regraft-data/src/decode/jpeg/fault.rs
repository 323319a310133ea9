//! Faults in a scan's data.

/// A fault that costs image data. libjpeg warns about each of them, or treats it as an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Bits that begin no code, or a code that leads beyond its block.
    Code,
    /// A marker, or the end of the file, before the last block.
    Missing,
    /// A restart marker that is missing or out of order.
    Restart,
    /// Data behind the last block, or between the last block before a restart marker and the
    /// marker.
    Leftover,
    /// A component of the image without a scan.
    Component,
    /// A scan with an unusable header or tables, behind usable scans.
    Header,
}

impl Fault {
    /// The fault in words, for a message.
    pub fn text(self) -> &'static str {
        match self {
            Self::Code => "an invalid code in its image data",
            Self::Missing => "its image data end too early",
            Self::Restart => "a restart marker is missing or out of order",
            Self::Leftover => "image data are left over",
            Self::Component => "one of its components has no data",
            Self::Header => "one of its scans has an invalid header",
        }
    }
}
