//! `report.html` at the end of a run, and `regraft report`.

use crate::outcome::assert_says;
use crate::workspace::{QUICK, SAMPLE, Workspace};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// The JSON inside a page.
fn numbers(page: &str) -> Value {
    let start = "<script type=\"application/json\" id=\"data\">";
    let (_, rest) = page.split_once(start).expect("the element");
    let (text, _) = rest.split_once("</script>").expect("its end");
    serde_json::from_str(text).expect("JSON")
}

/// Refuses a page that loads anything, or runs a script.
#[track_caller]
fn assert_offline(page: &str) {
    let without_names = page.replace("http://www.w3.org/2000/svg", "");
    for part in ["http:", "https:", "src=\"//", "@import", "url(", "<link", "onerror=\""] {
        assert!(!without_names.contains(part), "{part} in the page");
    }
    assert_eq!(page.matches("<script").count(), 1, "only the numbers");
}

#[test]
fn a_run_ends_with_a_page_whose_numbers_are_those_of_evaluate() {
    let workspace = Workspace::with_photos();
    let run = workspace.regraft(&format!("train photos {QUICK} --output run")).succeeded();
    assert_says(&run.stdout, &["run/report.html shows what it does"]);
    let page = workspace.text("run/report.html");
    assert_offline(&page);
    let found = numbers(&page);
    let evaluated = workspace.regraft("evaluate run photos/test --json").succeeded().json();
    let same = ["images", "correct", "accuracy", "accuracy_interval_95", "top5_accuracy", "loss"];
    let same = same.into_iter().chain(["balanced_accuracy", "calibration_error", "brier_score"]);
    for field in same.chain(["confusion", "per_class", "classes"]) {
        assert_eq!(found[field], evaluated[field], "{field}");
        assert!(!evaluated[field].is_null() || field == "top5_accuracy");
    }
    assert_eq!((&found["run"], &found["scored_on"]), (&json!("run"), &json!("test")));
    assert_eq!(found["summary"], workspace.json("run/summary.json"));
    let bins = found["reliability"].as_array().expect("a list");
    let images: u64 = bins.iter().filter_map(|bin| bin["images"].as_u64()).sum();
    assert_eq!((bins.len(), images), (15, 6));
    let shown = found["uncertain"].as_array().expect("a list").len()
        + found["mistakes"].as_array().expect("a list").len();
    assert_eq!(shown, 6);
    // Each image as the network sees it, and a map for each class that is named for it.
    let maps = 6 + found["mistakes"].as_array().expect("a list").len();
    assert_eq!(page.matches("data:image/jpeg;base64,").count(), 6 + maps);

    // The same run gives the same bytes.
    workspace.regraft("report run -o again.html").succeeded();
    assert_eq!(workspace.text("again.html"), page);
    let json = workspace.regraft("report run --json").succeeded();
    assert_eq!(json.json(), found);
    workspace.regraft("report run -o bare.html --no-images").succeeded();
    let bare = workspace.text("bare.html");
    assert!(!bare.contains("data:image") && bare.contains("no image"));
    assert_eq!(numbers(&bare), found);

    // About other images.
    workspace.regraft("report run photos/val").succeeded();
    let other = numbers(&workspace.text("run/report-val.html"));
    assert_eq!((&other["scored_on"], &other["data"]), (&json!("given"), &json!("photos/val")));
    assert_eq!(other["images"], 4);

    // A page that is not wanted, and images that are gone.
    workspace.regraft(&format!("train photos {QUICK} --output none --no-report")).succeeded();
    assert!(!workspace.path("none/report.html").exists());
    std::fs::remove_dir_all(workspace.path("photos/test")).expect("removed");
    let gone = workspace.regraft("report run -o gone.html").succeeded();
    assert_says(&gone.stderr, &["note: 6 of 6 images of the report cannot be read"]);
    assert_eq!(numbers(&workspace.text("gone.html"))["accuracy"], found["accuracy"]);
    std::fs::remove_file(workspace.path("run/summary.json")).expect("removed");
    let error = workspace.regraft("report run").failed(2);
    assert_says(&error, &["run is not a complete run: it has no summary.json"]);
}

#[test]
fn without_held_out_images_the_page_is_about_predictions_out_of_fold() {
    let workspace = Workspace::new();
    let train = format!("train {SAMPLE} --image-size 32 --freeze backbone --output run --json");
    let summary = workspace.regraft(&train).succeeded().json();
    let page = workspace.text("run/report.html");
    let found = numbers(&page);
    assert_eq!((&found["scored_on"], &found["images"]), (&json!("out_of_fold"), &json!(600)));
    let out_of_fold = &summary["head_fit"]["out_of_fold"];
    for field in ["correct", "accuracy", "accuracy_interval_95"] {
        assert_eq!(found[field], out_of_fold[field], "{field}");
    }
    assert_eq!(found["temperature"], summary["temperature"]);
    assert_says(
        &page,
        &["Each image is predicted by a head of the cross-validation", "likely wrong ("],
    );
    assert!(page.len() < 5 << 20, "{} bytes", page.len());
    assert_offline(&page);
}

#[test]
fn a_network_with_layers_between_mean_and_head_has_no_maps_and_the_page_says_so() {
    let workspace = Workspace::with_photos();
    let train = "train photos --model mobilenet_v3_large --weights none --head new --epochs 1";
    workspace.regraft(&format!("{train} --image-size 32 --lr 1e-9 --output run")).succeeded();
    let page = workspace.text("run/report.html");
    assert_eq!(page.matches("data:image/jpeg;base64,").count(), 6);
    assert_says(&page, &["There are no activation maps: this network has other layers"]);
    assert!(!page.contains("class activation maps: they are bright"));
}

#[test]
fn hostile_names_and_a_thousand_classes_survive() {
    let workspace = Workspace::with_photos();
    let long = "x".repeat(200);
    let hostile = [
        "</script><script>alert(1)</script>",
        "<img src=x onerror=\"alert(1)\">",
        "a \"quoted\" & 'single'",
        "עברית\u{202e}evil",
        &long,
    ];
    let class = |number: usize| {
        hostile.get(number).map_or_else(|| format!("class {number}"), |name| (*name).to_owned())
    };
    let mut table = "path,label,split\n".to_owned();
    for number in 0..1000 {
        let name = class(number).replace('"', "\"\"");
        for (split, image) in [("train", 0), ("train", 2), ("test", 0)] {
            let kind = if number % 2 == 0 { "blue" } else { "striped" };
            let file = format!("images/{number}-{split}-{image}.jpg");
            workspace.write(&file, workspace.read(&format!("photos/{split}/{kind}/{image}.jpg")));
            let _ = writeln!(table, "{file},\"{name}\",{split}");
        }
    }
    workspace.write("table.csv", table);
    let small = "--image-size 32 --freeze backbone --head new --epochs 1 --lr 1e-3";
    workspace
        .regraft(&format!("train table.csv {small} --val-fraction 0 --output run"))
        .succeeded();
    let page = workspace.text("run/report.html");
    assert_offline(&page);
    assert!(page.len() < 8 << 20, "{} bytes", page.len());
    assert!(page.matches('<').count() < 2 * 20_000, "{} tags", page.matches('<').count());
    let found = numbers(&page);
    assert_eq!(found["classes"].as_array().map(Vec::len), Some(1000));
    for name in hostile {
        let listed = found["classes"].as_array().expect("a list");
        assert!(listed.contains(&json!(name)), "{name:?}");
    }
    assert!(page.contains("&lt;/script&gt;&lt;script&gt;alert(1)"));
}
