//! Finds pairs of images that may be copies of each other without comparing all pairs.
//!
//! For each chunk of the hash, a table holds the whole images. An image's windows are looked up in
//! the tables, with the least certain bits tried both ways (multi-probe hashing: Lv et al. 2007). A
//! copy is found if the hashes agree in one chunk except for such bits.

use std::collections::HashMap;

use super::fingerprint::{CHUNKS, Thumbnail, UNCERTAIN, WindowHash, chunk, mirrored};
use crate::parallel;

/// The most bits, of 64, in which the hashes of a candidate pair may differ. Hashes of unrelated
/// images differ in 32 on average.
const MOST_BITS: u32 = 20;

/// The nearest candidates that an image keeps: if all images are alike (such as clothes on white),
/// most pairs would be candidates. Of many copies each finds some, which joins all of them into one
/// group.
const MOST_CANDIDATES: usize = 16;

/// An image that may be a crop of another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Index of the larger image.
    pub whole: u32,
    /// Index of the image that may be a crop of it.
    pub crop: u32,
    /// Whether the crop is mirrored.
    pub is_mirrored: bool,
}

/// The images by one chunk of their hash.
struct Table {
    /// For each value of the chunk, the start of its images; one more entry at the end.
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

/// All candidate pairs, in order. If neither image may be a crop of the other, the pair is listed
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

/// The images that may be crops of this one.
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
