//! Copies classified images into a folder for each class.

use crate::atomic_file;
use crate::file_error::FileError;
use crate::predict::Prediction;
use regraft_data::shown::shown;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Images whose class is less probable than this are uncertain, unless the caller says otherwise.
pub const CERTAIN_FROM: f32 = 0.8;

/// The longest name of a folder, in bytes. File systems allow 255.
const LONGEST_NAME: usize = 120;

/// The name of the folder of uncertain images.
const UNCERTAIN: &str = "uncertain";

/// The folders into which images are sorted.
#[derive(Clone, Debug)]
pub struct SortFolders {
    folder: PathBuf,
    /// Names of the folders by class.
    names: HashMap<String, String>,
    uncertain: String,
    /// The probability from which a class counts.
    certain_from: f32,
}

/// The copies that were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sorted {
    /// The copy of each image, in their order.
    pub copies: Vec<PathBuf>,
    /// Images in each folder, by its name.
    pub counts: BTreeMap<String, usize>,
    /// Images whose copy was there already.
    pub already: usize,
}

/// Images that could not be sorted.
#[derive(Debug, thiserror::Error)]
pub enum SortError {
    /// An image lies where the copies go.
    #[error("{} lies in the folder that images are sorted into: name another folder", shown(.0))]
    Inside(PathBuf),
    /// A file cannot be copied. The originals are never changed.
    #[error("{source}; {copied} images are copied, and the originals are unchanged")]
    File {
        /// The problem.
        source: FileError,
        /// Images copied before.
        copied: usize,
    },
}

impl SortFolders {
    /// Folders in `folder` for these classes. An image goes to its most probable class's if that
    /// has at least the probability `certain_from`, otherwise to `uncertain`.
    #[must_use]
    pub fn new(folder: &Path, classes: &[String], certain_from: f32) -> Self {
        let mut taken = HashSet::new();
        let uncertain = free_name(UNCERTAIN, &classes.iter().map(|name| folded(name)).collect());
        taken.insert(folded(&uncertain));
        let mut names = HashMap::new();
        for class in classes {
            let name = free_name(&folder_name(class), &taken);
            taken.insert(folded(&name));
            names.insert(class.clone(), name);
        }
        Self { folder: folder.to_owned(), names, uncertain, certain_from }
    }

    /// The classes whose folders cannot have their names, with the names that these get instead.
    #[must_use]
    pub fn renamed(&self) -> Vec<(&str, &str)> {
        let mut renamed: Vec<(&str, &str)> = self
            .names
            .iter()
            .filter(|(class, name)| class != name)
            .map(|(class, name)| (class.as_str(), name.as_str()))
            .collect();
        renamed.sort_unstable();
        renamed
    }

    /// The name of an image's folder.
    fn name_for(&self, prediction: &Prediction) -> &str {
        let best = prediction.top.first().filter(|best| best.probability >= self.certain_from);
        best.and_then(|best| self.names.get(&best.class)).unwrap_or(&self.uncertain)
    }

    /// Refuses images that lie in the folder themselves.
    ///
    /// # Errors
    /// [`SortError::Inside`].
    pub fn check(&self, images: &[PathBuf]) -> Result<(), SortError> {
        let Ok(folder) = fs::canonicalize(&self.folder) else { return Ok(()) };
        let is_inside =
            |path: &&PathBuf| fs::canonicalize(path).is_ok_and(|path| path.starts_with(&folder));
        images.iter().find(is_inside).map_or(Ok(()), |path| Err(SortError::Inside(path.clone())))
    }

    /// Copies the images. No file is replaced: a copy gets a number if its name is taken by another
    /// image, and if the same image is there already, it is not copied again.
    ///
    /// # Errors
    /// If a file cannot be read or written. No half copy stays.
    pub fn copy(&self, predictions: &[Prediction]) -> Result<Sorted, SortError> {
        let mut sorted = Sorted::default();
        for prediction in predictions {
            let name = self.name_for(prediction);
            let folder = self.folder.join(name);
            let failed = |copied| move |source| SortError::File { source, copied };
            let copied = sorted.copies.len();
            fs::create_dir_all(&folder)
                .map_err(FileError::when("create the folder", &folder))
                .map_err(failed(copied))?;
            let (copy, is_new) = copy_into(&prediction.path, &folder).map_err(failed(copied))?;
            sorted.copies.push(copy);
            sorted.already += usize::from(!is_new);
            *sorted.counts.entry(name.to_owned()).or_default() += 1;
        }
        Ok(sorted)
    }
}

/// Copies a file into a folder. Returns the copy, and whether it is new.
fn copy_into(source: &Path, folder: &Path) -> Result<(PathBuf, bool), FileError> {
    let name = source.file_name().unwrap_or(OsStr::new("image"));
    for number in 1_u64.. {
        let target = folder.join(numbered(name, number));
        // Creating it takes the name, so that nothing is ever replaced.
        match OpenOptions::new().write(true).create_new(true).open(&target) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let are_equal = same_content(source, &target);
                if are_equal.map_err(FileError::when("compare", &target))? {
                    return Ok((target, false));
                }
                continue;
            }
            Err(error) => return Err(FileError::when("create", &target)(error)),
        }
        let copied =
            File::open(source).map_err(FileError::when("read", source)).and_then(|mut file| {
                atomic_file::write_with(&target, |copy| io::copy(&mut file, copy).map(drop))
                    .map_err(|error| FileError::when("write", &target)(error.source))?;
                let modified = file.metadata().and_then(|metadata| metadata.modified());
                // A file system without times is no reason to fail.
                if let (Ok(time), Ok(copy)) =
                    (modified, OpenOptions::new().write(true).open(&target))
                {
                    let _ = copy.set_modified(time);
                }
                Ok(())
            });
        if let Err(error) = copied {
            // The first error is the one to report.
            let _ = fs::remove_file(&target);
            return Err(error);
        }
        return Ok((target, true));
    }
    unreachable!("a folder has fewer files than there are numbers")
}

/// `a.jpg`, `a (2).jpg`, `a (3).jpg` and so on.
fn numbered(name: &OsStr, number: u64) -> OsString {
    if number == 1 {
        return name.to_owned();
    }
    let path = Path::new(name);
    let mut numbered = path.file_stem().unwrap_or(name).to_owned();
    numbered.push(format!(" ({number})"));
    if let Some(extension) = path.extension() {
        numbered.push(".");
        numbered.push(extension);
    }
    numbered
}

fn same_content(left: &Path, right: &Path) -> io::Result<bool> {
    let (mut left, mut right) = (File::open(left)?, File::open(right)?);
    let (kind, length) = (right.metadata()?, left.metadata()?.len());
    if !kind.is_file() || kind.len() != length {
        return Ok(false);
    }
    let (mut one, mut other) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let count = left.read(&mut one)?;
        if count == 0 {
            return Ok(true);
        }
        right.read_exact(&mut other[..count])?;
        if one[..count] != other[..count] {
            return Ok(false);
        }
    }
}

/// A class's name as the name of a folder on any file system.
fn folder_name(class: &str) -> String {
    let is_unsafe = |character: char| {
        character.is_control()
            || matches!(character, '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|')
    };
    let name: String =
        class.chars().map(|letter| if is_unsafe(letter) { '_' } else { letter }).collect();
    // Windows drops dots and spaces at the end; a dot at the start hides a folder.
    let name = name.trim().trim_end_matches(['.', ' ']).replacen(
        '.',
        "_",
        usize::from(name.starts_with('.')),
    );
    let mut end = name.len().min(LONGEST_NAME);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    if end == 0 { "class".to_owned() } else { name[..end].to_owned() }
}

/// The name in the form in which file systems that ignore case compare it.
fn folded(name: &str) -> String {
    name.to_lowercase()
}

/// The name, with a number if it is taken.
fn free_name(name: &str, taken: &HashSet<String>) -> String {
    (1_u64..)
        .map(|number| if number == 1 { name.to_owned() } else { format!("{name} ({number})") })
        .find(|name| !taken.contains(&folded(name)))
        .unwrap_or_else(|| unreachable!("there are more numbers than names"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::Guess;

    fn prediction(path: &Path, class: &str, probability: f32) -> Prediction {
        let top = vec![Guess { class: class.into(), probability }];
        Prediction { path: path.to_owned(), top }
    }

    #[test]
    fn hostile_class_names_become_different_folders() {
        let long = "é".repeat(200);
        let classes =
            ["../up", "a/b", "a_b", "A_B", "", ".", "..", "uncertain", " x. ", &long, "nul\0"];
        let classes = classes.map(str::to_owned);
        let folders = SortFolders::new(Path::new("out"), &classes, 0.5);
        let names: Vec<&str> = classes.iter().map(|class| folders.names[class].as_str()).collect();
        assert_eq!(
            names[..9],
            [
                "_._up",
                "a_b",
                "a_b (2)",
                "A_B (3)",
                "class",
                "class (2)",
                "class (3)",
                "uncertain",
                "x"
            ]
        );
        assert_eq!((names[9].len(), names[10]), (120, "nul_"));
        assert_eq!(folders.uncertain, "uncertain (2)");
        let all: HashSet<String> = names.iter().map(|name| folded(name)).collect();
        assert_eq!(all.len(), classes.len());
        assert!(folders.renamed().contains(&("a/b", "a_b")));
    }

    #[test]
    fn copies_replace_nothing_and_come_once() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);
        for (name, content) in [("in/1/a.jpg", "one"), ("in/2/a.jpg", "two"), ("in/b", "three")] {
            fs::create_dir_all(path(name).parent().expect("a folder")).expect("made");
            fs::write(path(name), content).expect("written");
        }
        let classes = ["cat".to_owned()];
        let folders = SortFolders::new(&path("out"), &classes, 0.8);
        let predictions = [
            prediction(&path("in/1/a.jpg"), "cat", 0.9),
            prediction(&path("in/2/a.jpg"), "cat", 0.8),
            prediction(&path("in/b"), "cat", 0.79),
        ];
        let first = folders.copy(&predictions).expect("copied");
        let expected = ["out/cat/a.jpg", "out/cat/a (2).jpg", "out/uncertain/b"].map(path);
        assert_eq!(first.copies, expected);
        assert_eq!((first.already, first.counts["cat"], first.counts["uncertain"]), (0, 2, 1));
        let read = |path: &PathBuf| fs::read_to_string(path).expect("read");
        assert_eq!(expected.each_ref().map(read), ["one", "two", "three"]);
        let again = folders.copy(&predictions).expect("copied");
        assert_eq!((again.copies, again.already), (first.copies, 3));
        assert!(matches!(folders.check(&[path("in/b"), path("out/uncertain/b")]),
            Err(SortError::Inside(found)) if found == path("out/uncertain/b")));

        // A copy that fails leaves nothing behind.
        let gone = prediction(&path("in/gone.jpg"), "cat", 0.9);
        let error = folders.copy(&[predictions[0].clone(), gone]).expect_err("no such file");
        assert!(
            error.to_string().ends_with("1 images are copied, and the originals are unchanged")
        );
        assert_eq!(fs::read_dir(path("out/cat")).expect("a folder").count(), 2);
    }
}
