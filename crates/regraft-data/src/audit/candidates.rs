//! Pairs of pictures that may be copies of each other, found without comparing all pairs.
//!
//! One table for each chunk of the hash holds the whole pictures. A picture's windows are looked up
//! in them with the bits that are least certain tried both ways (multi-probe hashing: Lv et al.
//! 2007). A copy is found where the hashes agree in one chunk apart from such bits.

use std::collections::HashMap;

use super::fingerprint::{CHUNKS, Thumbnail, UNCERTAIN, WindowHash, chunk, mirrored};
use crate::parallel;

/// Bits in which the hashes of a candidate pair may differ, of 64. Hashes of pictures that have
/// nothing in common differ in 32 on average.
const MOST_BITS: u32 = 20;

/// The nearest candidates that a picture keeps: where all pictures are alike (clothes on white,
/// say), most pairs would be candidates. Of many copies each finds some, and together they are one
/// group.
const MOST_CANDIDATES: usize = 16;

/// A picture that may be a crop of another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Place of the larger picture.
    pub whole: u32,
    /// Place of the one that may be a crop of it.
    pub crop: u32,
    /// Whether it is mirrored.
    pub is_mirrored: bool,
}

/// The pictures by one chunk of their hash.
struct Table {
    /// For each value of the chunk, where its pictures start; one more at the end.
    starts: Vec<u32>,
    pictures: Vec<u32>,
}

impl Table {
    fn new(hashes: &[u64], of_chunk: usize) -> Self {
        let mut starts = vec![0u32; (1 << 16) + 1];
        hashes.iter().for_each(|&hash| starts[chunk(hash, of_chunk) + 1] += 1);
        for value in 1..starts.len() {
            starts[value] += starts[value - 1];
        }
        let mut next = starts.clone();
        let mut pictures = vec![0; hashes.len()];
        for (picture, &hash) in (0..).zip(hashes) {
            let place = &mut next[chunk(hash, of_chunk)];
            pictures[*place as usize] = picture;
            *place += 1;
        }
        Self { starts, pictures }
    }

    fn of_value(&self, value: usize) -> &[u32] {
        &self.pictures[self.starts[value] as usize..self.starts[value + 1] as usize]
    }
}

/// All candidate pairs, in order. Where neither picture may be a crop of the other, a pair stands
/// twice.
pub fn candidates(
    thumbnails: &[&Thumbnail],
    workers: usize,
    progress: &(dyn Fn(usize) + Sync),
) -> Vec<Candidate> {
    let hashes =
        parallel::map(thumbnails.len(), workers, &|place| thumbnails[place].hash(), &|_| {});
    let tables: Vec<Table> = (0..CHUNKS).map(|chunk| Table::new(&hashes, chunk)).collect();
    let of_picture =
        |place: usize| look_up(place as u32, &thumbnails[place].window_hashes(), &hashes, &tables);
    let found = parallel::map(thumbnails.len(), workers, &of_picture, progress);
    let mut pairs: Vec<Candidate> = found.into_iter().flatten().collect();
    pairs.sort_by_key(|candidate| (candidate.whole, candidate.crop));
    pairs
}

/// The pictures that may be crops of this one.
fn look_up(whole: u32, windows: &[WindowHash], hashes: &[u64], tables: &[Table]) -> Vec<Candidate> {
    let mut best: HashMap<u32, (u32, Candidate)> = HashMap::new();
    for window in windows {
        for is_mirrored in [false, true] {
            let hash = if is_mirrored { mirrored(window.hash) } else { window.hash };
            for (of_chunk, table) in tables.iter().enumerate() {
                for flips in 0..1usize << UNCERTAIN {
                    let flipped = (0..UNCERTAIN).filter(|bit| flips >> bit & 1 == 1);
                    let flipped =
                        flipped.fold(0, |mask, bit| mask | 1 << window.uncertain[of_chunk][bit]);
                    for &crop in table.of_value(chunk(hash, of_chunk) ^ flipped) {
                        let bits = (hash ^ hashes[crop as usize]).count_ones();
                        if crop == whole
                            || bits > MOST_BITS
                            || best.get(&crop).is_some_and(|(least, _)| *least <= bits)
                        {
                            continue;
                        }
                        best.insert(crop, (bits, Candidate { whole, crop, is_mirrored }));
                    }
                }
            }
        }
    }
    let mut nearest: Vec<(u32, Candidate)> = best.into_values().collect();
    nearest.sort_by_key(|&(bits, candidate)| (bits, candidate.crop));
    nearest.truncate(MOST_CANDIDATES);
    nearest.into_iter().map(|(_, candidate)| candidate).collect()
}
