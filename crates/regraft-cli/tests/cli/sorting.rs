//! `regraft predict --sort-into`.

use crate::outcome::assert_says;
use crate::workspace::{QUICK, Workspace};

fn trained() -> Workspace {
    let workspace = Workspace::with_photos();
    workspace.regraft(&format!("train photos {QUICK} --output run")).succeeded();
    workspace
}

#[test]
fn images_are_copied_into_folders_of_their_classes_and_uncertain_ones_apart() {
    let workspace = trained();
    let before = workspace.names("photos/test/blue");
    let sort = "predict run photos/test --sort-into sorted --top 1 --json";
    let run = workspace.regraft(&format!("{sort} --min-probability 0")).succeeded();
    let entries = run.json();
    let entries = entries.as_array().expect("a list");
    assert_eq!(entries.len(), 6);
    for entry in entries {
        let (path, copy) = (entry["path"].as_str(), entry["copied_to"].as_str());
        let (path, copy) = (path.expect("text"), copy.expect("a copy"));
        let class = entry["top"][0]["class"].as_str().expect("text");
        assert!(copy.replace('\\', "/").starts_with(&format!("sorted/{class}/")), "{copy}");
        assert_eq!(workspace.read(path), workspace.read(copy));
    }
    assert_says(&run.stderr, &["copied 6 images into sorted: ", "less probable than 0 are"]);
    assert_eq!(workspace.names("photos/test/blue"), before, "the originals stay");

    // Nothing is replaced, and nothing is copied twice.
    let again = workspace.regraft(&format!("{sort} --min-probability 0")).succeeded();
    assert_eq!(again.json(), run.json());
    assert_says(&again.stderr, &["copied 0 images into sorted (6 were there already)"]);

    let all = "predict run photos/test --sort-into apart --min-probability 1 --csv";
    let run = workspace.regraft(all).succeeded();
    assert_eq!(workspace.names("apart"), ["uncertain"]);
    // Both classes have a 0.jpg.
    let names = ["0 (2).jpg", "0.jpg", "1 (2).png", "1.png", "2 (2).jpg", "2.jpg"];
    assert_eq!(workspace.names("apart/uncertain"), names);
    assert_says(&run.stderr, &["6 in uncertain"]);
    assert!(run.stdout.starts_with("path,rank,class,probability\n"));
}

#[test]
fn a_folder_of_copies_is_no_input_and_a_threshold_needs_a_folder() {
    let workspace = trained();
    let error = workspace.regraft("predict run photos --sort-into photos/test").failed(2);
    assert_says(&error, &["photos/test/blue/0.jpg lies in the folder that images are sorted into"]);
    let error = workspace.regraft("predict run photos --min-probability 0.5").failed(2);
    assert_says(&error, &["--sort-into"]);
    let bad = "predict run photos --sort-into out --min-probability 1.5";
    assert_says(&workspace.regraft(bad).failed(2), &["choose from 0 to 1"]);
    assert!(!workspace.path("out").exists());
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_loses_nothing() {
    let workspace = trained();
    // A file of more than two blocks, where files may have one.
    workspace.write("big/0.jpg", workspace.read("photos/test/blue/0.jpg"));
    let mut big = workspace.read("photos/test/blue/1.png");
    big.extend(vec![0; 1 << 20]);
    workspace.write("big/1.png", &big);
    let sort = "ulimit -f 100; \"$REGRAFT\" predict run big --sort-into sorted --min-probability 0";
    let error = workspace.shell(sort).failed(1);
    assert_says(
        &error,
        &["cannot write sorted/", "1 images are copied, and the originals are unchanged"],
    );
    assert_eq!(workspace.read("big/1.png"), big);
    let copies: usize = workspace
        .names("sorted")
        .iter()
        .map(|class| workspace.names(&format!("sorted/{class}")).len())
        .sum();
    assert_eq!(copies, 1, "no half copy stays");
}
