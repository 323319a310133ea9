//! Creating, locking and replacing run folders.

use super::*;

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_next_free_number_is_taken_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let parent = folder.path().join("runs");
    let (first, note) = NewFolder::In(parent.clone()).create("photos").unwrap();
    assert_eq!((first.path(), note), (&*parent.join("photos"), None));
    let (second, note) = NewFolder::In(parent.clone()).create("photos").unwrap();
    assert_eq!(second.path(), parent.join("photos-2"));
    let expected = format!(
        "{} already exists, so this run is written to {}",
        first.path().display(),
        second.path().display()
    );
    assert_eq!(note, Some(expected));
    fs::remove_dir_all(second.path()).unwrap();
    fs::write(parent.join("photos-3"), "a file in the way counts as taken").unwrap();
    assert_eq!(
        NewFolder::In(parent.clone()).create("photos").unwrap().0.path(),
        parent.join("photos-2")
    );
    assert_eq!(
        NewFolder::In(parent.clone()).create("photos").unwrap().0.path(),
        parent.join("photos-4")
    );
}

#[test]
fn runs_started_together_get_folders_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let parent = folder.path().join("runs");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| NewFolder::In(parent.clone()).create("x").unwrap());
        }
    });
    assert_eq!(names_in(&parent), ["x", "x-2", "x-3", "x-4", "x-5", "x-6", "x-7", "x-8"]);
}

#[test]
fn a_named_folder_is_made_with_its_parents_and_an_empty_one_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let named = folder.path().join("a").join("b");
    for _ in 0..2 {
        // The second time it holds the lock's file alone.
        let (run, note) = NewFolder::At(named.clone()).create("unused").unwrap();
        assert_eq!((run.path(), note), (&*named, None));
    }
    assert_eq!(RunFolder::existing(&named).summary(), named.join("summary.json"));
}

#[test]
fn what_a_killed_run_left_before_its_first_file_is_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for name in [LOCK, ".config.toml.4711-0.unfinished"] {
        fs::write(folder.path().join(name), "half").unwrap();
    }
    NewFolder::At(folder.path().to_owned()).create("unused").unwrap();
    assert_eq!(names_in(folder.path()), [LOCK]);
}

#[test]
fn a_folder_with_anything_in_it_is_refused_without_force() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    let error = NewFolder::At(folder.path().to_owned()).create("unused").unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the output folder {} is not empty", folder.path().display())
    );
    assert_eq!(names_in(folder.path()), ["notes.txt"]);
}

#[test]
fn force_removes_only_files_that_a_run_writes() {
    let folder = tempfile::tempdir().unwrap();
    for name in WRITTEN_FILES.iter().chain(&["notes.txt", "model.safetensors.bak"]) {
        fs::write(folder.path().join(name), "old").unwrap();
    }
    fs::create_dir(folder.path().join("pictures")).unwrap();
    let checkpoints = folder.path().join(CHECKPOINTS);
    fs::create_dir(&checkpoints).unwrap();
    for name in [&*checkpoint_name(3, 64), "mine.safetensors", "epoch-1.safetensors"] {
        fs::write(checkpoints.join(name), "old").unwrap();
    }
    NewFolder::Replacing(folder.path().to_owned()).check().unwrap();
    assert_eq!(names_in(folder.path()).len(), WRITTEN_FILES.len() + 4);
    NewFolder::Replacing(folder.path().to_owned()).create("unused").unwrap();
    assert_eq!(
        names_in(folder.path()),
        [LOCK, CHECKPOINTS, "model.safetensors.bak", "notes.txt", "pictures"]
    );
    assert_eq!(names_in(&checkpoints), ["epoch-1.safetensors", "mine.safetensors"]);
}

#[test]
fn a_folder_is_locked_as_long_as_its_run_lives() {
    let folder = tempfile::tempdir().unwrap();
    let named = folder.path().join("run");
    let open = || NewFolder::Replacing(named.clone()).create("unused");
    let (run, _) = open().unwrap();
    let copy = run.clone();
    drop(run);
    let error = open().unwrap_err();
    assert!(matches!(&error, RunFolderError::Busy { path } if *path == named), "{error}");
    fs::write(named.join(CONFIG), "").unwrap();
    assert!(matches!(RunFolder::resume(&named), Err(RunFolderError::Busy { .. })));
    drop(copy);
    assert!(RunFolder::resume(&named).is_ok());
    assert!(open().is_ok());
}

#[test]
fn going_on_needs_a_runs_folder_and_removes_what_was_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    for path in [&folder.path().join("nowhere"), folder.path()] {
        assert!(matches!(RunFolder::resume(path), Err(RunFolderError::NoRun { .. })));
    }
    assert_eq!(names_in(folder.path()), [""; 0]);
    fs::create_dir(folder.path().join(CHECKPOINTS)).unwrap();
    for name in [
        CONFIG,
        ".metrics.csv.17-3.unfinished",
        ".regraft-Ab3.partial",
        "checkpoints/.regraft-x.partial",
        "checkpoints/mine",
    ] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    RunFolder::resume(folder.path()).unwrap();
    assert_eq!(names_in(folder.path()), [LOCK, CHECKPOINTS, CONFIG]);
    assert_eq!(names_in(&folder.path().join(CHECKPOINTS)), ["mine"]);
}

#[test]
fn force_removes_nothing_where_a_folder_is_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(MODEL), "old").unwrap();
    fs::create_dir(folder.path().join(SUMMARY)).unwrap();
    let error = NewFolder::Replacing(folder.path().to_owned()).create("unused").unwrap_err();
    assert!(matches!(error, RunFolderError::NotAFile { path } if path.ends_with(SUMMARY)));
    assert_eq!(names_in(folder.path()), [MODEL, SUMMARY]);
}

#[test]
fn a_check_refuses_early_and_creates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let parent = folder.path().join("runs");
    NewFolder::In(parent.clone()).check().unwrap();
    NewFolder::At(folder.path().join("new")).check().unwrap();
    assert_eq!(names_in(folder.path()), [""; 0]);
    fs::write(&parent, "not a folder").unwrap();
    for place in [NewFolder::In(parent.clone()), NewFolder::Replacing(parent)] {
        let error = place.check().unwrap_err();
        assert!(matches!(error, RunFolderError::NotAFolder { .. }), "{error}");
    }
}

#[test]
fn a_run_is_named_after_the_data_folder_itself() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("hot dogs");
    fs::create_dir_all(data.join("train")).unwrap();
    assert_eq!(run_name(&data).unwrap(), "hot dogs");
    assert_eq!(run_name(&data.join("train").join("..")).unwrap(), "hot dogs");
    assert_eq!(run_name(&data.join(".")).unwrap(), "hot dogs");
    assert!(matches!(run_name(Path::new("/")).unwrap_err(), RunFolderError::NoName { .. }));
    assert!(matches!(run_name(&data.join("missing")).unwrap_err(), RunFolderError::Io(_)));
}
