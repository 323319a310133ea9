//! Files that are no regular files, are far too long, or have names that are not UTF-8.

use crate::outcome::{Outcome, assert_says};
use crate::pictures::Look;
use crate::workspace::{QUICK, REGRAFT, Workspace};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The most memory that a refused command may take. Today's machines need a fraction of a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs bash's script, in which `$REGRAFT` is the program, in a process group that is killed after
/// [`PATIENCE`].
fn bash(workspace: &Workspace, script: &str) -> Outcome {
    let mut command = Command::new("bash");
    command.current_dir(workspace.path("")).args(["-c", script]).env("REGRAFT", REGRAFT);
    run(command.env("REGRAFT_CACHE", workspace.path("cache")), script)
}

/// Runs the program with arguments that need not be text.
fn regraft(workspace: &Workspace, arguments: &[&[u8]]) -> Outcome {
    let mut command = Command::new(REGRAFT);
    command
        .current_dir(workspace.path(""))
        .args(arguments.iter().map(|argument| OsStr::from_bytes(argument)));
    run(command.env("REGRAFT_CACHE", workspace.path("cache")), &format!("{arguments:?}"))
}

fn run(command: &mut Command, name: &str) -> Outcome {
    use std::os::unix::process::CommandExt;
    let mut child = command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let started = Instant::now();
    let group = format!("-{}", child.id());
    // The program prints far less than a pipe holds, so that nothing waits for a reader.
    while child.try_wait().expect("the child is ours").is_none() {
        if started.elapsed() > PATIENCE {
            let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
            let _ = child.wait();
            panic!("{name}: did not end within {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Outcome::of(name, child.wait_with_output().expect("the output"))
}

fn mkfifo(workspace: &Workspace, name: &str) {
    let made = Command::new("mkfifo").arg(workspace.path(name)).status().expect("mkfifo");
    assert!(made.success(), "{name}");
}

/// Photos and a trained run.
fn with_run() -> Workspace {
    let workspace = Workspace::with_photos();
    workspace.regraft(&format!("train photos {QUICK} --output run")).succeeded();
    workspace
}

#[test]
fn a_named_pipe_is_refused_wherever_a_file_is_named() {
    let workspace = with_run();
    for name in [
        "pipe",
        "pipe.csv",
        "pipe.txt",
        "pipe.jsonl",
        "pipe.zip",
        "pipe.jpg",
        "pipe.safetensors",
        "pipe.toml",
    ] {
        mkfifo(&workspace, name);
    }
    workspace.write("list.txt", "photos/test/blue/0.jpg\npipe.jpg\n");
    workspace.write("table.csv", "path,label\nphotos/test/blue/0.jpg,blue\npipe.jpg,striped\n");
    for arguments in [
        "predict run pipe",
        "predict run pipe.jpg",
        "predict run list.txt",
        "predict run pipe.txt",
        "predict run pipe.csv",
        "predict run *.jpg",
        "predict pipe.safetensors photos/test/blue/0.jpg",
        "predict --model resnet18 --weights pipe.safetensors photos/test/blue/0.jpg",
        "evaluate run pipe.csv",
        "evaluate run pipe.jsonl",
        "evaluate run table.csv",
        "evaluate --model resnet18 --weights pipe photos/test",
        "train pipe",
        "train pipe.zip",
        "train pipe.csv",
        "train table.csv",
        "train photos --exclude pipe.csv",
        "train photos --config pipe.toml",
        "train photos --head-map pipe.toml",
        "train photos --model resnet18 --weights pipe.safetensors",
        "lr-find pipe.csv --head new",
        "compare photos --arms pipe.toml",
        "audit pipe.csv",
        "audit photos --exclude pipe.csv",
        "show pipe.csv -o grid.png",
        "inspect pipe",
        "inspect pipe.safetensors",
        "weights convert pipe.safetensors out.safetensors",
        "bench load pipe.csv",
        "bench load table.csv",
    ] {
        let outcome = bash(&workspace, &format!("$REGRAFT {arguments}"));
        assert!(
            [Some(1), Some(2)].contains(&outcome.code),
            "{arguments}: {:?}\n{}",
            outcome.code,
            outcome.stderr
        );
        assert_says(&outcome.stderr, &["pipe"]);
        assert!(!outcome.stderr.contains("panicked"), "{arguments}: {}", outcome.stderr);
    }
    // In a folder it is left out, like anything that is not a file.
    mkfifo(&workspace, "photos/test/blue/pipe.jpg");
    let outcome = bash(&workspace, "$REGRAFT evaluate run photos/test").succeeded();
    assert_says(&outcome.stderr, &["pipe.jpg (neither a file nor a folder)"]);
}

#[test]
fn a_device_that_never_ends_is_refused() {
    let workspace = with_run();
    for arguments in [
        "predict run /dev/zero",
        "train photos --exclude /dev/zero",
        "train photos --config /dev/urandom",
        "predict --model resnet18 --weights /dev/zero photos/test/blue/0.jpg",
        "inspect /dev/urandom",
    ] {
        let outcome =
            bash(&workspace, &format!("ulimit -v 8000000; $REGRAFT {arguments}")).failed(2);
        assert_says(&outcome, &["/dev/", "device"]);
    }
    // A stream that the user passes is read, but not without end.
    let outcome =
        bash(&workspace, "ulimit -v 8000000; $REGRAFT predict run /dev/stdin < /dev/zero")
            .failed(2);
    assert_says(&outcome, &["/dev/stdin", "nothing but zeros"]);
}

#[test]
fn streams_that_a_shell_passes_are_read() {
    let workspace = with_run();
    let cases = [
        (
            "$REGRAFT predict run --csv --top 1 /dev/stdin < photos/test/blue/0.jpg",
            "/dev/stdin,1,blue,",
        ),
        (
            "cat photos/test/blue/0.jpg | $REGRAFT predict run --csv --top 1 /dev/stdin",
            "/dev/stdin,1,blue,",
        ),
        ("$REGRAFT predict run --csv --top 1 <(cat photos/test/blue/0.jpg)", ",1,blue,"),
        (
            "ln -s /dev/stdin here; cat photos/test/blue/0.jpg | $REGRAFT predict run --csv --top \
             1 here",
            "here,1,blue,",
        ),
    ];
    for (script, expected) in cases {
        let outcome = bash(&workspace, script).succeeded();
        assert_says(&outcome.stdout, &[expected]);
    }
    workspace.write("out.txt", "photos/test/blue/0.jpg\n");
    let script = format!("$REGRAFT train photos {QUICK} --output left --exclude <(cat out.txt)");
    let outcome = bash(&workspace, &script).succeeded();
    assert_says(&outcome.stdout, &["1 image is left out as /dev/fd/"]);
    let outcome =
        bash(&workspace, "$REGRAFT train photos --output again --config <(cat run/config.toml)")
            .succeeded();
    assert_says(&outcome.stdout, &["again/model.safetensors is ready"]);
}

#[test]
fn a_file_of_gigabytes_is_not_read_whole() {
    let workspace = with_run();
    for name in ["zeros.jpg", "zeros.csv", "zeros.toml", "zeros.safetensors", "photo.jpg"] {
        let file = std::fs::File::create(workspace.path(name)).expect("a file");
        file.set_len(8 << 30).expect("a sparse file");
    }
    // One that begins as an image does is too long for any that --max-pixels allows.
    let start = workspace.read("photos/test/blue/0.jpg");
    let mut file =
        std::fs::OpenOptions::new().write(true).open(workspace.path("photo.jpg")).expect("a file");
    std::io::Write::write_all(&mut file, &start).expect("written");
    for (arguments, words) in [
        ("predict run zeros.jpg", "a file of nothing but zeros"),
        ("predict run photo.jpg", "has more than 1498764624 bytes"),
        ("predict run photo.jpg --max-pixels 1000000", "has more than 75108864 bytes"),
        ("evaluate run zeros.csv", "has more than 1073741824 bytes"),
        ("train photos --exclude zeros.csv", "has more than 1073741824 bytes"),
        ("train photos --config zeros.toml", "has more than 16777216 bytes"),
        ("inspect zeros.safetensors", "begins with zeros"),
    ] {
        let name = if arguments.contains("photo.jpg") { "photo.jpg" } else { "zeros." };
        let outcome =
            bash(&workspace, &format!("ulimit -v 4000000; $REGRAFT {arguments}")).failed(2);
        assert_says(&outcome, &[name, words]);
    }
}

#[test]
fn a_run_on_paths_that_are_not_utf_8_can_be_resumed_and_used() {
    let workspace = Workspace::with_photos();
    let data = workspace.path("").join(OsStr::from_bytes(b"f\xFF%tos"));
    std::fs::rename(workspace.path("photos"), &data).expect("renamed");
    // Class folders are text, files in them need not be.
    std::fs::rename(
        data.join("test/blue/0.jpg"),
        data.join(OsStr::from_bytes(b"test/blue/\xFE.jpg")),
    )
    .expect("renamed");
    let exclude = OsStr::from_bytes(b"out\xFF.txt");
    std::fs::write(workspace.path("").join(exclude), "train/striped/0.jpg\n").expect("written");
    let quick: Vec<&[u8]> = QUICK.split(' ').map(str::as_bytes).collect();
    let train: [&[u8]; 6] =
        [b"train", b"f\xFF%tos", b"--output", b"r\xFFn", b"--exclude", b"out\xFF.txt"];
    let outcome = regraft(&workspace, &[&train[..], &quick].concat()).succeeded();
    assert_says(&outcome.stdout, &["9 images to train on"]);
    let run = workspace.path("").join(OsStr::from_bytes(b"r\xFFn"));
    let config = std::fs::read_to_string(run.join("config.toml")).expect("text");
    assert_says(&config, &["escaped = \"f%FF%25tos\"", "escaped = \"out%FF.txt\""]);
    assert_says(&std::fs::read_to_string(run.join("data.csv")).expect("text"), &["%FE.jpg"]);
    let outcome = regraft(&workspace, &[b"train", b"--resume", b"r\xFFn"]).succeeded();
    assert_says(&outcome.stderr, &["is complete"]);
    let again: [&[u8]; 5] = [b"train", b"--config", b"r\xFFn/config.toml", b"--output", b"again"];
    regraft(&workspace, &again).succeeded();
    assert_eq!(
        std::fs::read(run.join("data.csv")).expect("a list"),
        workspace.read("again/data.csv")
    );

    let json =
        regraft(&workspace, &[b"evaluate", b"r\xFFn", b"f\xFF%tos/test", b"--json"]).succeeded();
    assert_says(&json.stdout, &["\"images\":6", "f\u{FFFD}%tos/test"]);
    let csv =
        regraft(&workspace, &[b"predict", b"r\xFFn", b"f\xFF%tos/test", b"--csv", b"--top", b"1"])
            .succeeded();
    assert_says(&csv.stdout, &["blue/\u{FFFD}.jpg,1,blue"]);
    regraft(&workspace, &[b"predict", b"r\xFFn", b"f\xFF%tos/test/blue/\xFE.jpg", b"--json"])
        .succeeded();
    regraft(&workspace, &[b"inspect", b"r\xFFn"]).succeeded();
    regraft(&workspace, &[b"show", b"f\xFF%tos", b"-o", b"g\xFF.png"]).succeeded();
    let audit: [&[u8]; 7] = [
        b"audit",
        b"f\xFF%tos",
        b"--files-only",
        b"--html",
        b"a\xFF.html",
        b"--fix-list",
        b"a\xFF.csv",
    ];
    let audited = regraft(&workspace, &audit).succeeded();
    assert_says(
        &(audited.stdout + &audited.stderr),
        &["20 paths are not UTF-8, so that a fix list cannot name"],
    );
    // A model file's path as a source is stored too.
    let source: [&[u8]; 6] =
        [b"train", b"f\xFF%tos", b"--weights", b"r\xFFn", b"--output", b"next"];
    regraft(&workspace, &[&source[..], &quick].concat()).succeeded();
    assert_says(&workspace.text("next/config.toml"), &["escaped = \"r%FFn\""]);
    regraft(&workspace, &[b"train", b"--resume", b"next"]).succeeded();
    for arguments in [
        &[&b"predict"[..], b"r\xFFn", b"no\xFF.jpg"][..],
        &[b"inspect", b"no\xFF"],
        &[b"train", b"no\xFF"],
    ] {
        let outcome = regraft(&workspace, arguments).failed(2);
        assert_says(&outcome, &["no\u{FFFD}"]);
    }
}

#[test]
fn a_table_that_links_lead_to_is_read() {
    let workspace = with_run();
    workspace.pictures("more/blue", Look::Blue, 1);
    std::os::unix::fs::symlink("photos/test/blue/0.jpg", workspace.path("link.jpg"))
        .expect("a link");
    let outcome = bash(&workspace, "$REGRAFT predict run link.jpg --csv --top 1").succeeded();
    assert_says(&outcome.stdout, &["link.jpg,1,blue"]);
}
