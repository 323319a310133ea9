//! Files of records: the length of each, the record, and checksums of both.

use super::crc32c::masked;

/// Bytes before a record: its length and the checksum of the length.
const BEFORE: usize = 12;
/// Bytes after it: its checksum.
const AFTER: usize = 4;

/// A record as it is in a file.
pub(super) fn framed(record: &[u8]) -> Vec<u8> {
    let length = (record.len() as u64).to_le_bytes();
    let mut bytes = Vec::with_capacity(BEFORE + record.len() + AFTER);
    bytes.extend(length);
    bytes.extend(masked(&length).to_le_bytes());
    bytes.extend(record);
    bytes.extend(masked(record).to_le_bytes());
    bytes
}

/// The whole, undamaged records at the start of a file. A process that was killed may have left
/// half a record at its end.
pub(super) fn records(mut file: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = file.get(..8)?;
        let checksum = file.get(8..BEFORE)?;
        if masked(length).to_le_bytes() != checksum {
            return None;
        }
        let length = usize::try_from(u64::from_le_bytes(length.try_into().ok()?)).ok()?;
        let end = BEFORE.checked_add(length)?;
        let record = file.get(BEFORE..end)?;
        let checksum = file.get(end..end.checked_add(AFTER)?)?;
        if masked(record).to_le_bytes() != checksum {
            return None;
        }
        file = &file[end + AFTER..];
        Some(record)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_up_to_the_first_that_is_damaged() {
        let written: [&[u8]; 3] = [b"one", b"", b"three"];
        let file: Vec<u8> = written.iter().flat_map(|record| framed(record)).collect();
        assert_eq!(records(&file).collect::<Vec<_>>(), written);
        for end in 0..file.len() {
            let whole = records(&file[..end]).count();
            let expected = [19, 35].iter().filter(|&&whole| end >= whole).count();
            assert_eq!(whole, expected, "{end}");
        }
        for place in 0..file.len() {
            let mut damaged = file.clone();
            damaged[place] ^= 1;
            let expected = [19, 35].iter().filter(|&&whole| place >= whole).count();
            assert_eq!(records(&damaged).count(), expected, "{place}");
        }
        // A length that no memory holds.
        let length = u64::MAX.to_le_bytes();
        let huge = [&length[..], &masked(&length).to_le_bytes()].concat();
        assert_eq!(records(&huge).count(), 0);
    }
}
