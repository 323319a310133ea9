//! LZW, as GIF and TIFF use it.

use weezl::LzwStatus;
use weezl::decode::Configuration;

/// Decompresses exactly `length` bytes. `None` if the data end too early.
///
/// # Errors
///
/// With the decoder's message, if the data contain an invalid code.
pub fn decode(
    stored: &[u8],
    configuration: Configuration,
    length: usize,
) -> Result<Option<Vec<u8>>, String> {
    let mut decoder = configuration.build();
    let mut data = vec![0; length];
    let (mut read, mut written) = (0, 0);
    while written < length {
        let result = decoder.decode_bytes(&stored[read..], &mut data[written..]);
        read += result.consumed_in;
        written += result.consumed_out;
        match result.status {
            Ok(LzwStatus::Ok) if result.consumed_in + result.consumed_out > 0 => {}
            Ok(_) => break,
            Err(error) => return Err(format!("LZW: {error}")),
        }
    }
    Ok((written == length).then_some(data))
}
