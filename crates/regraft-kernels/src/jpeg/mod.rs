//! Converts a JPEG's frequencies to pixels, with exactly libjpeg-turbo's levels.
//!
//! Networks are trained on images that Pillow reads, and Pillow reads JPEGs with libjpeg-turbo's
//! default settings: the accurate integer transform (`jidctint.c`), triangle-filtered chroma
//! (`jdsample.c`) and 16-bit fixed-point colours (`jdcolor.c`). Each of these is integer
//! arithmetic, so the results are equal if the rounding is.
//!
//! [`inverse`] turns blocks into samples, [`upsample`] enlarges chroma, and [`colour`] computes
//! RGB.

pub mod colour;
pub mod inverse;
pub mod upsample;
