//! `regraft audit`, on folders with everything wrong.

use crate::outcome::assert_says;
use crate::pictures::Look;
use crate::workspace::{QUICK, Workspace};
use image::imageops::{FilterType, crop_imm, flip_horizontal, resize};
use image::{Rgb, RgbImage};
use serde_json::json;

/// An image with shapes of its own for each number: what perceptual hashes are made for, where
/// noise is not.
fn scene(number: u32) -> RgbImage {
    let mut state = 1 + number;
    let mut draw = move |most: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % most
    };
    let mut picture = RgbImage::from_pixel(200, 160, Rgb([90, 110, 130]));
    for _ in 0..40 {
        let (left, top, width, height) = (draw(180), draw(140), 8 + draw(50), 8 + draw(40));
        let colour = Rgb([draw(256) as u8, draw(256) as u8, draw(256) as u8]);
        for y in top..(top + height).min(160) {
            for x in left..(left + width).min(200) {
                picture.put_pixel(x, y, colour);
            }
        }
    }
    picture
}

fn workspace() -> Workspace {
    let workspace = Workspace::new();
    for (part, class, first) in
        [("train", "a", 0), ("train", "b", 20), ("test", "a", 40), ("test", "b", 60)]
    {
        for number in 0..6 {
            save(
                &workspace,
                &format!("photos/{part}/{class}/{number}.png"),
                &scene(first + number),
            );
        }
    }
    workspace
}

fn save(workspace: &Workspace, name: &str, picture: &RgbImage) {
    let path = workspace.path(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    picture.save(path).expect("an image");
}

#[test]
fn a_clean_folder_has_no_findings() {
    let workspace = workspace();
    let run = workspace.regraft("audit photos --files-only --strict").succeeded();
    assert_says(
        &run.stdout,
        &[
            "class  train  val  test\na          6    0     6\n",
            "24 files audited: nothing was found",
        ],
    );
    let report = workspace.regraft("audit photos --files-only --json").succeeded().json();
    assert_eq!(report["counts"][1], json!({"class": "b", "train": 6, "val": 0, "test": 6}));
    for (field, none) in [
        ("duplicates", json!([])),
        ("leakage", json!([])),
        ("suspect_labels", json!(null)),
        ("imbalance", json!(1.0)),
    ] {
        assert_eq!(report[field], none, "{field}");
    }
}

#[test]
fn altered_copies_are_found_across_parts_and_classes_and_the_fix_list_mends_it() {
    let workspace = workspace();
    // Mirrored, cropped by a tenth at one side and less at the others, made smaller, and lossy: all
    // at once.
    let leaked = flip_horizontal(&crop_imm(&scene(41), 20, 5, 176, 147).to_image());
    save(&workspace, "photos/train/a/leaked.jpg", &resize(&leaked, 120, 100, FilterType::Triangle));
    workspace.write("photos/train/a/same.png", workspace.read("photos/test/a/2.png"));
    save(&workspace, "photos/train/b/conflict.jpg", &scene(3));
    workspace.write("photos/train/b/again.png", workspace.read("photos/train/b/0.png"));
    workspace.write("photos/train/b/broken.jpg", "no image");

    let run = workspace
        .regraft("audit photos --files-only --json --strict --fix-list out.csv --html page.html");
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert_says(
        &run.stderr,
        &["error: the audit found leaks (2) and label conflicts (1)", "wrote out.csv"],
    );
    let report = run.json();
    assert_eq!(
        report["leakage"],
        json!([
            {"train": "photos/train/a/leaked.jpg", "eval": "photos/test/a/1.png", "kind": "near"},
            {"train": "photos/train/a/same.png", "eval": "photos/test/a/2.png", "kind": "exact"},
        ])
    );
    assert_eq!(
        report["label_conflicts"],
        json!([{"paths": ["photos/train/a/3.png", "photos/train/b/conflict.jpg"],
            "labels": ["a", "b"], "kind": "near"}])
    );
    assert_eq!(report["duplicates"].as_array().map(Vec::len), Some(4));
    assert_eq!(report["unreadable"][0]["path"], "photos/train/b/broken.jpg");
    assert_says(&report["unreadable"].to_string(), &["is a file of an unknown format"]);

    let list = workspace.text("out.csv");
    let mut excluded: Vec<&str> =
        list.lines().skip(1).filter_map(|line| line.split('"').nth(1)).collect();
    excluded.sort_unstable();
    let wanted =
        ["a/3.png", "a/leaked.jpg", "a/same.png", "b/again.png", "b/broken.jpg", "b/conflict.jpg"];
    assert_eq!(excluded, wanted.map(|name| format!("photos/train/{name}")));
    workspace.regraft("audit photos --files-only --strict --exclude out.csv").succeeded();
    let train = workspace.regraft(&format!("train photos {QUICK} --exclude out.csv")).succeeded();
    assert!(!train.stdout.contains("see `regraft audit`"), "{}", train.stdout);
    let page = workspace.text("page.html");
    assert_says(
        &page,
        &[
            "leakage (2)",
            "label conflicts (1)",
            "photos/train/a/leaked.jpg",
            "data:image/jpeg;base64,",
        ],
    );
    assert!(!page.contains("http"), "the page needs nothing from elsewhere");

    let table = workspace.regraft("audit photos --files-only").succeeded().stdout;
    assert_says(
        &table,
        &[
            "leakage (2)\n\nTraining images that are also in the validation or test set.\n\n  \
             photos/train/a/leaked.jpg\n    = photos/test/a/1.png  (near)",
            "unreadable (1)",
            "29 files audited",
        ],
    );
}

#[test]
fn odd_pictures_are_named_with_what_is_odd() {
    let workspace = workspace();
    save(&workspace, "photos/train/a/blank.png", &RgbImage::from_pixel(64, 64, Rgb([7, 7, 7])));
    save(&workspace, "photos/train/a/small.png", &resize(&scene(90), 24, 20, FilterType::Triangle));
    save(&workspace, "photos/train/b/long.png", &resize(&scene(91), 240, 40, FilterType::Triangle));
    workspace.write("photos/train/b/liar.jpg", workspace.read("photos/train/b/1.png"));
    std::fs::remove_file(workspace.path("photos/train/b/1.png")).expect("removed");
    let report = workspace.regraft("audit photos --files-only --json").succeeded().json();
    assert_eq!(
        report["oddities"],
        json!([
            {"path": "photos/train/a/blank.png", "kind": "blank", "detail": "one colour"},
            {"path": "photos/train/a/small.png", "kind": "tiny", "detail": "24 x 20 pixels"},
            {"path": "photos/train/b/liar.jpg", "kind": "wrong extension", "detail": "is PNG, not \
                jpg"},
            {"path": "photos/train/b/long.png", "kind": "extreme ratio", "detail": "240 x 40 \
                pixels"},
        ])
    );
}

#[test]
fn a_picture_in_the_wrong_class_is_suspect() {
    let workspace = Workspace::new();
    workspace.pictures("photos/blue", Look::Blue, 10);
    workspace.pictures("photos/striped", Look::Striped, 10);
    workspace.write("photos/striped/wrong.jpg", workspace.read("photos/blue/2.jpg"));
    std::fs::remove_file(workspace.path("photos/blue/2.jpg")).expect("removed");
    let cache = workspace.path("cache");
    let environment = [("REGRAFT_CACHE", cache.to_str().expect("text"))];
    let report = workspace.regraft_with("audit photos --json", &environment).succeeded().json();
    let first = &report["suspect_labels"][0];
    assert_eq!(
        (&first["path"], &first["given"], &first["likely"]),
        (&json!("photos/striped/wrong.jpg"), &json!("striped"), &json!("blue"))
    );
    assert!(first["score"].as_f64().is_some_and(|score| score > 0.5), "{report}");
    assert!(report["outliers"].is_array());
}

#[test]
fn training_says_what_hashes_and_counts_tell() {
    let workspace = Workspace::with_photos();
    workspace.write("photos/train/blue/copy.jpg", workspace.read("photos/test/blue/0.jpg"));
    workspace.write("photos/train/striped/copy.jpg", workspace.read("photos/train/blue/2.jpg"));
    let run = workspace.regraft(&format!("train photos {QUICK}")).succeeded();
    assert_says(&run.stdout, &["in two parts of the data", "in two classes", "regraft audit"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_fix_list_finds_any_name_that_can_be_written_and_names_the_others() {
    use std::os::unix::ffi::OsStringExt;
    let workspace = workspace();
    let listed = [
        "a, b.png",
        "q\"uote\".png",
        " lead.png",
        "trail.png ",
        "\"whole\"",
        "back\\slash.png",
        "\u{fffd}.png",
    ];
    for name in listed {
        workspace.write(&format!("photos/train/a/{name}"), "no image");
    }
    let not_text = std::ffi::OsString::from_vec(b"photos/train/a/b\xFFd.png".to_vec());
    std::fs::write(workspace.path(".").join(not_text), "no image").expect("a file");
    workspace.write("photos/train/a/two\nlines.png", "no image");

    let run = workspace.regraft("audit photos --files-only --json --fix-list out.csv").succeeded();
    assert_eq!(run.json()["unreadable"].as_array().map(Vec::len), Some(listed.len() + 2));
    for name in ["\"photos/train/a/b\u{fffd}d.png\"", "\"photos/train/a/two\\nlines.png\""] {
        assert_says(
            &run.stderr,
            &[&format!("note: {name} is not on the list, because its name is not UTF-8 or holds")],
        );
    }
    let run = workspace.regraft("audit photos --files-only --json --exclude out.csv").succeeded();
    assert_says(&run.stdout, &["7 images are left out as out.csv says"]);
    assert_eq!(run.json()["unreadable"].as_array().map(Vec::len), Some(2));
}
