//! From a JPEG's frequencies to pixels, equal to libjpeg-turbo's to the level.
//!
//! Networks are trained on what Pillow reads, and Pillow reads JPEGs with libjpeg-turbo's default
//! settings: the accurate integer transform (`jidctint.c`), triangle-filtered chroma (`jdsample.c`)
//! and 16-bit fixed-point colours (`jdcolor.c`). Each of these is integer arithmetic, so that
//! being equal is a matter of rounding in the same places.
//!
//! [`inverse`] turns blocks into samples, [`upsample`] enlarges chroma, and [`colour`] makes RGB.

pub mod colour;
pub mod inverse;
pub mod upsample;
