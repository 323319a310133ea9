//! Leaves out the images that a list names.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{Catalogue, CatalogueError};
use crate::shown::shown;
use crate::table;

/// Leaves out the images that a list names by a path from the current folder, from the list's
/// folder or from the data folder. Links are resolved on both sides, so it does not matter how a
/// path is written.
pub fn leave_out(
    catalogue: &mut Catalogue,
    list: &Path,
    data: &Path,
) -> Result<(), CatalogueError> {
    let table = table::read(list)?;
    let rows = table.rows;
    catalogue.notes.extend(table.notes);
    // Each file that a row may mean, with the row's index.
    let mut meant: HashMap<PathBuf, usize> = HashMap::new();
    for (place, row) in rows.iter().enumerate() {
        for folder in [data, list.parent().unwrap_or(Path::new("")), Path::new("")] {
            let real = row.spellings().find_map(|path| folder.join(path).canonicalize().ok());
            meant.extend(real.map(|real| (real, place)));
        }
    }
    let mut used = vec![false; rows.len()];
    let mut left_out = 0;
    let before = catalogue.train.len();
    for part in [&mut catalogue.train, &mut catalogue.validation, &mut catalogue.test] {
        part.retain(|sample| {
            let place = sample.path.canonicalize().ok().and_then(|real| meant.get(&real));
            if let Some(&place) = place {
                used[place] = true;
                left_out += 1;
            }
            place.is_none()
        });
    }
    if catalogue.train.len() < before {
        let mut counts = vec![0usize; catalogue.classes.len()];
        catalogue.train.iter().for_each(|sample| counts[sample.label as usize] += 1);
        if let Some(empty) = counts.iter().position(|&count| count == 0) {
            return Err(CatalogueError::AllExcluded {
                path: list.to_path_buf(),
                class: catalogue.classes[empty].clone(),
            });
        }
    }
    let unused: Vec<&str> =
        rows.iter().zip(used).filter(|(_, used)| !used).map(|(row, _)| row.path.as_str()).collect();
    let images =
        if left_out == 1 { "1 image is".to_owned() } else { format!("{left_out} images are") };
    catalogue.notes.push(format!("{images} left out as {} says.", shown(list)));
    if let Some(first) = unused.first() {
        catalogue.notes.push(format!(
            "{} {} of {} {} no image of {}, such as {first}.",
            unused.len(),
            if unused.len() == 1 { "line" } else { "lines" },
            shown(list),
            if unused.len() == 1 { "names" } else { "name" },
            shown(data)
        ));
    }
    Ok(())
}
