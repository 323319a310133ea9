//! Recognises data sets for object detection, which have a file of boxes for each image and no
//! class folders: YOLO's and Pascal VOC's layouts, and COCO's.

use std::path::{Path, PathBuf};

use super::CatalogueError;
use crate::folder::{self, Entries, holds_images};
use crate::split_name::Split;

/// Folders of boxes, in lower case.
const BOXES: [&str; 4] = ["annotations", "annotation", "labels", "bboxes"];
/// Folders of images beside them, in lower case.
const IMAGES: [&str; 5] = ["images", "image", "imgs", "img", "jpegimages"];
/// The extension of a file of boxes, and the program that writes it.
const WRITERS: [(&str, &str); 3] = [("txt", "YOLO"), ("xml", "Pascal VOC"), ("json", "COCO")];

/// Refuses a folder that is laid out for object detection: folders of boxes beside folders of
/// images or of splits (`images/train/` and `labels/train/`), or inside the splits (`train/images/`
/// and `train/labels/`).
pub fn refuse(folder: &Path, entries: &Entries) -> Result<(), CatalogueError> {
    refuse_one(folder, entries)?;
    for split in
        entries.folders.iter().filter(|folder| Split::of(&folder::lossy_name(folder)).is_some())
    {
        refuse_one(split, &folder::peek(split)?)?;
    }
    Ok(())
}

fn refuse_one(folder: &Path, entries: &Entries) -> Result<(), CatalogueError> {
    let name = |folder: &PathBuf| folder::lossy_name(folder).to_lowercase();
    let (boxes, others): (Vec<_>, Vec<_>) =
        entries.folders.iter().partition(|folder| BOXES.contains(&name(folder).as_str()));
    let are_images = |folder: &&PathBuf| {
        IMAGES.contains(&name(folder).as_str()) || Split::of(&name(folder)).is_some()
    };
    if others.is_empty() && entries.files.is_empty() || !others.iter().all(are_images) {
        return Ok(());
    }
    for boxes in boxes {
        if !holds_images(boxes)?
            && let Some((file, writer)) = box_file_in(boxes, 2)
        {
            return Err(CatalogueError::Detection { path: folder.to_path_buf(), file, writer });
        }
    }
    Ok(())
}

/// A file of boxes in a folder or in its subfolders.
fn box_file_in(folder: &Path, depth: usize) -> Option<(PathBuf, &'static str)> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().find_map(|path| {
        let writer = WRITERS.iter().find(|(extension, _)| {
            path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
        });
        match writer {
            Some(&(_, writer)) if path.is_file() => Some((path.clone(), writer)),
            _ if depth > 0 && path.is_dir() => box_file_in(path, depth - 1),
            _ => None,
        }
    })
}

/// Refuses a folder of images that has files of boxes beside them.
pub fn refuse_images(folder: &Path) -> Result<(), CatalogueError> {
    let beside = |image: &PathBuf| {
        let files =
            WRITERS.iter().map(|&(extension, writer)| (image.with_extension(extension), writer));
        files.into_iter().find(|(file, _)| file.is_file())
    };
    // If a program writes a file of boxes for each image, most images have one, so a hundred files
    // are enough.
    match folder::peek(folder)?.files.iter().take(100).find_map(beside) {
        Some((file, writer)) => {
            Err(CatalogueError::Detection { path: folder.to_path_buf(), file, writer })
        }
        None => Ok(()),
    }
}
