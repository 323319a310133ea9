//! Common to all commands: examples, exit codes, and patience if a reader leaves.

use crate::outcome::assert_says;
use crate::workspace::{QUICK, Workspace};
use regraft::config::OPTIONS;

const COMMANDS: [&str; 18] = [
    "train",
    "compare",
    "evaluate",
    "predict",
    "report",
    "runs",
    "diff",
    "export",
    "lr-find",
    "audit",
    "show",
    "fetch",
    "models",
    "inspect",
    "weights",
    "bench",
    "completions",
    "doctor",
];

#[test]
fn every_command_has_help_with_examples() {
    let workspace = Workspace::new();
    let help = workspace.regraft("--help").succeeded().stdout;
    let listed = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .map_while(|line| line.split_whitespace().next());
    let listed: Vec<&str> = listed.filter(|command| *command != "help").collect();
    assert_eq!(listed, COMMANDS);
    for command in COMMANDS.into_iter().chain(["weights convert", "bench step", "bench load"]) {
        let help = workspace.regraft(&format!("{command} --help")).succeeded().stdout;
        let is_group = ["weights", "bench"].contains(&command);
        assert!(is_group || help.contains(&format!("Examples:\n  regraft {command}")), "{help}");
    }
}

/// The flags in a help text.
fn flags(help: &str) -> Vec<&str> {
    let lines = help.lines().filter_map(|line| line.strip_prefix("      --"));
    lines.filter_map(|line| line.split_whitespace().next()).collect()
}

#[test]
fn short_help_has_the_options_that_people_use_and_long_help_all_with_their_defaults() {
    let workspace = Workspace::new();
    let short = workspace.regraft("train -h").succeeded().stdout;
    assert_eq!(flags(&short).len(), 15, "{short}");
    let long = workspace.regraft("train --help").succeeded().stdout;
    let long_flags = flags(&long);
    for option in OPTIONS.iter().filter_map(|option| option.flag()) {
        assert!(long_flags.contains(&option.as_str()), "--{option} is not in\n{long}");
    }
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    for default in OPTIONS.iter().filter(|option| option.flag().is_some()) {
        if let Some(default) = default.default_text() {
            let expected = format!("[default: {default}]");
            assert!(words(&long).contains(&expected), "{expected} is not in\n{long}");
        }
    }
    let range_test = workspace.regraft("lr-find --help").succeeded().stdout;
    for meaningless in ["lr", "epochs", "schedule", "warmup", "patience", "output", "resume"] {
        assert!(!flags(&range_test).contains(&meaningless), "--{meaningless} in\n{range_test}");
    }
}

#[test]
fn a_printed_configuration_gives_the_same_run() {
    let workspace = Workspace::with_photos();
    let printed = workspace.regraft(&format!("train photos {QUICK} --print-config")).succeeded();
    workspace.write("printed.toml", printed.stdout);
    workspace.regraft(&format!("train photos {QUICK} --output flags")).succeeded();
    workspace.regraft("train --config printed.toml --output file").succeeded();
    let model = |run: &str| workspace.read(&format!("{run}/model.safetensors"));
    assert!(model("flags") == model("file"));
}

#[test]
fn wrong_usage_is_told_from_failure() {
    let workspace = Workspace::new();
    for wrong in [
        "",
        "trian",
        "train",
        "train photos --epochs many",
        "train photos --augment some",
        "evaluate",
        "predict",
        "inspect",
    ] {
        assert_eq!(workspace.regraft(wrong).code, Some(2), "regraft {wrong}");
    }
    let error = workspace.regraft("train photos --head new --epochs 0").failed(2);
    assert_says(&error, &["there is nothing to train", "--epochs 1 or more"]);
    let error = workspace.regraft("train photos --crop-scale 0.5").failed(2);
    assert_says(&error, &["two numbers with a comma between"]);
    for command in ["train photos", "bench step"] {
        let error = workspace.regraft(&format!("{command} --threads 50000")).failed(2);
        assert_says(&error, &["--threads", "it has to be from 0 to 1024"]);
    }
    let error = workspace.regraft("train --config nowhere.toml").failed(2);
    assert_says(&error, &["nowhere.toml"]);
    workspace.write("wrong.toml", "data = \"photos\"\nepoch = 3\n");
    let error = workspace.regraft("train --config wrong.toml").failed(2);
    assert_says(&error, &["wrong.toml is not a configuration of a run", "epoch"]);
}

#[test]
fn a_reader_who_leaves_is_no_failure() {
    let workspace = Workspace::with_photos();
    let train = format!("train photos {QUICK}");
    for command in [
        "models",
        "inspect resnet152",
        "completions bash",
        "doctor",
        "--help",
        "predict --model efficientnet_lite0 photos --csv",
        &train,
    ] {
        let run = workspace.regraft_into_closed_pipe(command).succeeded();
        assert!(run.stderr.is_empty(), "regraft {command}: {}", run.stderr);
    }
    assert!(workspace.path("runs/photos/summary.json").exists(), "the training went on to its end");
}
