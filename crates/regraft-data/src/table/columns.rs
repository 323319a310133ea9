//! Chooses the columns of a table that hold paths, labels and splits, and makes notes on the
//! others.

use crate::split_name::Split;

/// The role of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Path,
    Label,
    Split,
}

impl Role {
    const ALL: [Self; 3] = [Self::Path, Self::Label, Self::Split];

    /// The names of columns with this role, as [`plain`] writes them. If several exist, the first
    /// in this order is used.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Path => &[
                "path",
                "file_path",
                "filepath",
                "image_path",
                "img_path",
                "file_name",
                "filename",
                "image_file",
                "image_name",
                "file",
                "image",
                "img",
            ],
            Self::Label => &[
                "label",
                "class",
                "class_name",
                "label_name",
                "category",
                "category_name",
                "target",
            ],
            Self::Split => &["split", "subset", "set", "part"],
        }
    }

    /// The content of the column, in words.
    fn content(self) -> &'static str {
        match self {
            Self::Path => "paths",
            Self::Label => "labels",
            Self::Split => "splits",
        }
    }
}

/// Names that other programs use for a column of splits.
const SPLIT_LIKE: [&str; 20] = [
    "dataset",
    "data_set",
    "fold",
    "folds",
    "is_test",
    "is_train",
    "is_training",
    "is_val",
    "is_valid",
    "is_validation",
    "kfold",
    "partition",
    "phase",
    "test",
    "train",
    "training",
    "usage",
    "val",
    "valid",
    "validation",
];

/// Names of columns that give the label in another form, such as its number. None of them is read
/// as the label.
const LABEL_LIKE: [&str; 17] = [
    "annotation",
    "annotations",
    "categories",
    "category_id",
    "class_id",
    "class_idx",
    "class_index",
    "classes",
    "ground_truth",
    "label_id",
    "label_idx",
    "label_index",
    "labels",
    "tag",
    "tags",
    "target_name",
    "targets",
];

/// Names of columns that give an object's position in its image.
const BOX_LIKE: [&str; 9] = [
    "bbox",
    "xmin",
    "x_min",
    "xmax",
    "x_max",
    "bbox_x",
    "region_shape_attributes",
    "segmentation",
    "x1",
];

/// A column's name in the form in which names are compared: in lower case, without blanks at the
/// ends, with `_` for each blank or hyphen inside.
pub fn plain(name: &str) -> String {
    name.trim().to_lowercase().replace([' ', '-'], "_")
}

/// The columns of a header by their roles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    pub path: Option<usize>,
    pub label: Option<usize>,
    pub split: Option<usize>,
    /// The name of the column of labels.
    pub label_name: Option<String>,
    /// For each other column that would fit too: its role, the column that is used, and this one,
    /// which is ignored.
    pub also_fit: Vec<(&'static str, String, String)>,
    /// A name that two columns share, if one of them would have to be used.
    pub twice: Option<String>,
}

impl Chosen {
    pub fn of<'a>(header: impl Iterator<Item = &'a str>) -> Self {
        let header: Vec<&str> = header.collect();
        let names: Vec<String> = header.iter().map(|name| plain(name)).collect();
        let mut chosen = Self::default();
        for role in Role::ALL {
            let mut used: Option<usize> = None;
            let known = role
                .names()
                .iter()
                .map(|wanted| (0..names.len()).filter(|&at| names[at] == *wanted).collect());
            // Hugging Face's names for paths: `image_file_name` and the like.
            let of_kind = (0..names.len())
                .filter(|&at| role == Role::Path && names[at].ends_with("_file_name"));
            for places in known.chain(std::iter::once(of_kind.collect::<Vec<_>>())) {
                for at in places {
                    match used {
                        None => used = Some(at),
                        Some(first) if names[first] == names[at] => {
                            chosen.twice = Some(header[at].trim().to_owned());
                        }
                        Some(first) => {
                            let [first, other] = [first, at].map(|at| header[at].trim().to_owned());
                            chosen.also_fit.push((role.content(), first, other));
                        }
                    }
                }
            }
            *match role {
                Role::Path => &mut chosen.path,
                Role::Label => &mut chosen.label,
                Role::Split => &mut chosen.split,
            } = used;
        }
        chosen.label_name = chosen.label.map(|at| header[at].trim().to_owned());
        chosen
    }

    /// Whether a column is used.
    pub fn uses(&self, column: usize) -> bool {
        [self.path, self.label, self.split].contains(&Some(column))
    }
}

/// A column that is not used, with a summary of its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unused {
    /// Its name.
    pub name: String,
    /// Whether it has values and each of them names a split.
    splits: Option<bool>,
}

impl Unused {
    pub fn new(name: &str) -> Self {
        Self { name: name.trim().to_owned(), splits: None }
    }

    /// Takes one of its values into account.
    pub fn see(&mut self, value: &str) {
        let value = value.trim();
        if !value.is_empty() && self.splits != Some(false) {
            let split = Split::of(value).is_some();
            self.splits = Some(split);
        }
    }

    fn looks_like_split(&self) -> bool {
        self.splits == Some(true) || is_split_like(&self.name)
    }
}

/// Whether a column has a name like a column of splits.
pub fn is_split_like(name: &str) -> bool {
    SPLIT_LIKE.contains(&plain(name).as_str())
}

/// Notes on the columns that are not used, one sentence each. `table` is the table's name.
pub fn notes(table: &str, chosen: &Chosen, unused: &[Unused]) -> Vec<String> {
    let mut notes: Vec<String> = (chosen.also_fit.iter())
        .map(|(content, used, ignored)| {
            format!(
                "{table}: the {content} are read from the column {used:?}. The column {ignored:?} \
                 is \
                 ignored; rename one of them if it is the right one."
            )
        })
        .collect();
    if let Some(used) = &chosen.label_name {
        let like = |column: &&Unused| LABEL_LIKE.contains(&plain(&column.name).as_str());
        notes.extend(unused.iter().filter(like).map(|column| {
            format!(
                "{table}: the labels are read from the column {used:?}. The column {:?} is \
                 ignored; rename one of them if it \
                 is the right one.",
                column.name
            )
        }));
    }
    // A column that would fit already has its note.
    let would_fit =
        |column: &&Unused| chosen.also_fit.iter().any(|(_, _, ignored)| *ignored == column.name);
    let these = |columns: &[&Unused], one: &str, many: &str| {
        let names = columns
            .iter()
            .map(|column| format!("{:?}", column.name))
            .collect::<Vec<_>>()
            .join(", ");
        if columns.len() == 1 {
            format!("the column {names} {one}")
        } else {
            format!("the columns {names} {many}")
        }
    };
    let rest = || unused.iter().filter(|column| !would_fit(column));
    let splits: Vec<&Unused> = rest().filter(|column| column.looks_like_split()).collect();
    if chosen.split.is_none() && !splits.is_empty() {
        notes.push(format!(
            "{table}: {}. To use {}, call it \"split\" and its values train, val and test.",
            these(
                &splits,
                "looks like a split and is ignored",
                "look like a split and are ignored"
            ),
            if splits.len() == 1 { "it" } else { "one" }
        ));
    }
    let boxes: Vec<&Unused> =
        rest().filter(|column| BOX_LIKE.contains(&plain(&column.name).as_str())).collect();
    if !boxes.is_empty() {
        notes.push(format!(
            "{table}: {}. Images are used whole.",
            these(
                &boxes,
                "looks like positions of objects and is ignored",
                "look like positions of objects and are ignored"
            )
        ));
    }
    notes
}

/// The probable origin of a table without labels, and advice.
pub fn export_advice(header: &[String]) -> Option<&'static str> {
    let names: Vec<String> = header.iter().map(|name| plain(name)).collect();
    let has = |name: &str| names.iter().any(|found| found == name);
    if has("annotation_id") || has("annotator") && has("lead_time") {
        return Some(
            "it looks like an export of Label Studio: rename the column of choices to label, and \
             give \
             the paths of your own image files for its /data/upload/... addresses",
        );
    }
    if has("region_shape_attributes") || has("file_attributes") {
        return Some(
            "it looks like an export of the VGG Image Annotator: write a table with the columns \
             path \
             and label instead",
        );
    }
    if names.iter().any(|name| BOX_LIKE.contains(&name.as_str())) {
        return Some(
            "it looks like an export for object detection: write one label for each image in a \
             column label",
        );
    }
    None
}
