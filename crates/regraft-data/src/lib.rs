//! Image folders, decoding, transforms and batches of Regraft
