//! Groups images that occur more than once.

use std::collections::HashMap;
use std::path::Path;

use super::alignment::{Agreement, align_thumbnails, coarse_details, compare};
use super::candidates::{Candidate, candidates};
use super::fingerprint::Thumbnail;
use super::inspect::{BLANK_DEVIATION, Facts, decode_options};
use super::plane::Alignment;
use crate::decode::{DecodeOptions, decode};
use crate::parallel;

/// How two files show the same image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CopyKind {
    /// Equal byte for byte.
    Exact,
    /// Mirrored, resized, re-encoded, slightly cropped or brighter.
    Near,
}

impl CopyKind {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Near => "near",
        }
    }
}

/// Files that show the same image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyGroup {
    /// Indices of the files, at least two, in order.
    pub files: Vec<usize>,
    /// Exact if all files are.
    pub kind: CopyKind,
}

/// Progress of the search for copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyProgress {
    /// Looking up images.
    LookingUp {
        /// Images done.
        done: usize,
        /// Images in total.
        total: usize,
    },
    /// Comparing candidates.
    Comparing {
        /// Pairs done.
        done: usize,
        /// Pairs in total.
        total: usize,
    },
}

/// Pairs whose pixels are compared before the groups are updated, which may make other pairs
/// unnecessary.
const ROUND: usize = 256;

/// Groups the files that show the same image, from the results of [`inspect`](super::inspect());
/// blank images only if the files are equal. Groups are ordered by their first file. The result
/// does not depend on `workers`. `progress` is called from any thread.
#[must_use]
pub fn copies(
    paths: &[&Path],
    facts: &[Facts],
    workers: usize,
    options: &DecodeOptions,
    progress: &(dyn Fn(CopyProgress) + Sync),
) -> Vec<CopyGroup> {
    let mut groups = Groups::new(facts.len());
    let mut first_of: HashMap<[u8; 32], usize> = HashMap::new();
    for (place, hash) in
        facts.iter().enumerate().filter_map(|(place, facts)| Some((place, facts.sha256?)))
    {
        groups.join(*first_of.entry(hash).or_insert(place), place);
    }
    let exact_root: Vec<usize> = (0..facts.len()).map(|place| groups.root(place)).collect();

    let firsts = (0..facts.len()).filter(|&place| exact_root[place] == place);
    let (places, thumbnails): (Vec<usize>, Vec<&Thumbnail>) = firsts
        .filter_map(|place| Some((place, facts[place].thumbnail.as_ref()?)))
        .filter(|(_, thumbnail)| thumbnail.deviation() >= BLANK_DEVIATION)
        .unzip();
    let total = thumbnails.len();
    let found =
        candidates(&thumbnails, workers, &|done| progress(CopyProgress::LookingUp { done, total }));
    let mut likely = likely_pairs(&found, &thumbnails, workers);
    // The likeliest pairs first: they join files that then need not be compared.
    likely.sort_by(|(left, left_fit), (right, right_fit)| {
        let places = |candidate: &Candidate| (candidate.whole, candidate.crop);
        right_fit
            .correlation
            .total_cmp(&left_fit.correlation)
            .then(places(left).cmp(&places(right)))
    });

    let options = decode_options(options);
    let total = likely.len();
    let mut done = 0;
    for round in likely.chunks(ROUND) {
        let open: Vec<&(Candidate, Alignment)> = round
            .iter()
            .filter(|(pair, _)| {
                groups.root(places[pair.whole as usize]) != groups.root(places[pair.crop as usize])
            })
            .collect();
        let compared = parallel::map(
            open.len(),
            workers,
            &|place| {
                let (pair, fit) = open[place];
                let paths = [pair.whole, pair.crop].map(|picture| paths[places[picture as usize]]);
                agreement(paths, pair, fit, &options)
            },
            &|now| progress(CopyProgress::Comparing { done: done + now, total }),
        );
        for ((pair, _), agreement) in open.into_iter().zip(compared) {
            if agreement.is_some_and(|agreement| agreement.is_copy()) {
                groups.join(places[pair.whole as usize], places[pair.crop as usize]);
            }
        }
        done += round.len();
    }

    let mut members: HashMap<usize, Vec<usize>> = HashMap::new();
    (0..facts.len()).for_each(|place| members.entry(groups.root(place)).or_default().push(place));
    let mut found: Vec<CopyGroup> = members
        .into_values()
        .filter(|files| files.len() > 1)
        .map(|files| {
            let is_exact = files.iter().all(|&file| exact_root[file] == exact_root[files[0]]);
            CopyGroup { kind: if is_exact { CopyKind::Exact } else { CopyKind::Near }, files }
        })
        .collect();
    found.sort_by(|left, right| left.files.cmp(&right.files));
    found
}

fn likely_pairs(
    found: &[Candidate],
    thumbnails: &[&Thumbnail],
    workers: usize,
) -> Vec<(Candidate, Alignment)> {
    let coarse = parallel::map(
        thumbnails.len(),
        workers,
        &|place| coarse_details(thumbnails[place]),
        &|_| {},
    );
    let fit = |place: usize| {
        let Candidate { whole, crop, is_mirrored } = found[place];
        let pair = [whole as usize, crop as usize];
        align_thumbnails(
            pair.map(|picture| thumbnails[picture]),
            pair.map(|picture| &coarse[picture]),
            is_mirrored,
        )
    };
    let fits = parallel::map(found.len(), workers, &fit, &|_| {});
    found.iter().zip(fits).filter_map(|(&candidate, fit)| Some((candidate, fit?))).collect()
}

/// If a file has become unreadable in the meantime, it is not a copy.
fn agreement(
    paths: [&Path; 2],
    pair: &Candidate,
    fit: &Alignment,
    options: &DecodeOptions,
) -> Option<Agreement> {
    let [whole, crop] = paths.map(|path| decode(path, options));
    Some(compare(&whole.ok()?, &crop.ok()?, fit.margins, pair.is_mirrored))
}

/// Groups of files, by union-find; a group's root is its first file.
struct Groups {
    parents: Vec<usize>,
}

impl Groups {
    fn new(count: usize) -> Self {
        Self { parents: (0..count).collect() }
    }

    fn root(&mut self, mut place: usize) -> usize {
        while self.parents[place] != place {
            self.parents[place] = self.parents[self.parents[place]];
            place = self.parents[place];
        }
        place
    }

    fn join(&mut self, left: usize, right: usize) {
        let (left, right) = (self.root(left), self.root(right));
        self.parents[left.max(right)] = left.min(right);
    }
}

#[cfg(test)]
mod tests {
    use super::super::inspect;
    use super::*;
    use std::path::PathBuf;
    use tempfile::TempDir;

    /// Shop images of 28 x 28 pixels, grey on black, of three kinds of clothes that resemble each
    /// other, sorted by name.
    fn clothes() -> Vec<PathBuf> {
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sample/fashion/train");
        let mut paths: Vec<PathBuf> = ["coat", "pullover", "shirt"]
            .iter()
            .flat_map(|class| std::fs::read_dir(sample.join(class)).expect("a class"))
            .map(|entry| entry.expect("an image").path())
            .collect();
        paths.sort();
        paths
    }

    #[test]
    fn of_many_similar_tiny_images_few_are_compared_and_only_copies_are_found() {
        let mut paths = clothes();
        assert_eq!(paths.len(), 180);
        let folder = TempDir::new().expect("a folder");
        let (mirrored, brighter, exact) = (
            folder.path().join("mirrored.png"),
            folder.path().join("brighter.png"),
            folder.path().join("exact.png"),
        );
        let open = |place: usize| image::open(&paths[place]).expect("an image").to_luma8();
        image::imageops::flip_horizontal(&open(7)).save(&mirrored).expect("saved");
        image::imageops::brighten(&open(130), 12).save(&brighter).expect("saved");
        std::fs::copy(&paths[150], &exact).expect("copied");
        paths.extend([mirrored, brighter, exact]);
        let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
        let options = DecodeOptions::default();
        let facts = inspect(&paths, 2, &options, &|_| {});

        let thumbnails: Vec<&Thumbnail> =
            facts.iter().filter_map(|facts| facts.thumbnail.as_ref()).collect();
        let found = candidates(&thumbnails, 2, &|_| {});
        assert!(found.len() <= 16 * paths.len(), "{} candidates", found.len());
        // Only these pairs' files are opened.
        let likely = likely_pairs(&found, &thumbnails, 2);
        assert!(likely.len() <= paths.len(), "{} of {} pairs", likely.len(), found.len());

        let groups = copies(&paths, &facts, 2, &options, &|_| {});
        let group = |files: [usize; 2], kind| CopyGroup { files: files.to_vec(), kind };
        let planted = [
            group([7, 180], CopyKind::Near),
            group([130, 181], CopyKind::Near),
            group([150, 182], CopyKind::Exact),
        ];
        assert_eq!(groups, planted);
    }
}
