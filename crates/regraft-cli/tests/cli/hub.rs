//! The cache of weights from a hub, which is one of the test's own here.

use crate::hub_server::{Asked, COMMIT, HubServer, REPOSITORY, SMALLEST, config, etag, smallest};
use crate::outcome::{Outcome, assert_says};
use crate::workspace::Workspace;
use std::fs;

/// Where the cache keeps it.
const FOLDER: &str = "huggingface/hub/models--someone--net.a1";

fn inspect(workspace: &Workspace, server: &HubServer, name: &str) -> Outcome {
    workspace.regraft_with(&format!("inspect hub:{name}"), &server.environment())
}

fn names(asked: &[Asked]) -> Vec<String> {
    let line = |asked: &Asked| {
        let name = asked.path.rsplit('/').next().expect("a name");
        let place = if asked.of_storage { "storage " } else { "" };
        format!("{} {place}{name}", asked.method)
    };
    asked.iter().map(line).collect()
}

#[test]
fn a_repository_is_downloaded_once_into_the_layout_of_huggingface_hub() {
    let (workspace, content) = (Workspace::new(), smallest());
    let server = HubServer::with_network(REPOSITORY, SMALLEST, &content);
    let first = inspect(&workspace, &server, REPOSITORY).succeeded();
    let size = format!("{:.1} MB", content.len() as f64 / 1e6);
    assert_says(
        &first.stderr,
        &[
            &format!("note: downloading model.safetensors ({size}) of {REPOSITORY} from http"),
            "note: downloading config.json (0.2 kB)",
            "says how images are prepared: 224 pixels, the centre of a short side of 232, bicubic, \
             mean [0.4, 0.5, 0.6]",
        ],
    );
    assert_eq!(
        names(&server.asked()),
        [
            "HEAD model.safetensors",
            "GET model.safetensors",
            "GET storage model.safetensors",
            "HEAD config.json",
            "GET config.json",
        ]
    );
    assert_eq!(workspace.text(&format!("{FOLDER}/refs/main")), COMMIT);
    let snapshot = format!("{FOLDER}/snapshots/{COMMIT}");
    assert_eq!(workspace.names(&snapshot), ["config.json", "model.safetensors"]);
    let config = config(SMALLEST, 1000);
    for (name, content) in [("model.safetensors", &content[..]), ("config.json", config.as_bytes())]
    {
        assert_eq!(workspace.read(&format!("{snapshot}/{name}")), content);
        let hash = etag(name, content);
        assert_eq!(workspace.read(&format!("{FOLDER}/blobs/{hash}")), content);
        #[cfg(unix)]
        assert_eq!(
            fs::read_link(workspace.path(&format!("{snapshot}/{name}"))).expect("a link"),
            std::path::Path::new("../../blobs").join(hash)
        );
    }
    assert_eq!(workspace.names(&format!("{FOLDER}/blobs")).len(), 2, "nothing is left over");
    // The hub says that its newest weights are those in the cache.
    let second = inspect(&workspace, &server, REPOSITORY).succeeded();
    assert!(!second.stderr.contains("downloading"), "{}", second.stderr);
    assert_eq!(names(&server.asked()), ["HEAD model.safetensors"]);
    assert_eq!(second.stdout, first.stdout);
    // A commit never changes, so nothing is asked; offline works too.
    inspect(&workspace, &server, &format!("{REPOSITORY}@{COMMIT}")).succeeded();
    let offline = workspace.regraft(&format!("inspect hub:{REPOSITORY}")).succeeded();
    assert_eq!((offline.stdout, server.asked()), (first.stdout, Vec::new()));
}

#[test]
fn another_commit_is_downloaded_and_equal_files_are_not() {
    let (workspace, content) = (Workspace::new(), smallest());
    let server = HubServer::with_network(REPOSITORY, SMALLEST, &content);
    inspect(&workspace, &server, REPOSITORY).succeeded();
    let other = "f".repeat(40);
    server.hub().commit = other.clone();
    server.hub().files.insert("config.json".to_owned(), config(SMALLEST, 1000).into_bytes());
    server.asked();
    inspect(&workspace, &server, REPOSITORY).succeeded();
    assert_eq!(names(&server.asked()), ["HEAD model.safetensors", "HEAD config.json"]);
    assert_eq!(workspace.text(&format!("{FOLDER}/refs/main")), other);
    assert_eq!(workspace.names(&format!("{FOLDER}/snapshots")), [COMMIT, &other]);
    assert_eq!(workspace.names(&format!("{FOLDER}/blobs")).len(), 2);
    // The first commit is still there.
    inspect(&workspace, &server, &format!("{REPOSITORY}@{COMMIT}")).succeeded();
}

#[test]
fn a_download_that_breaks_off_resumes_there() {
    let (workspace, content) = (Workspace::new(), smallest());
    let server = HubServer::with_network(REPOSITORY, SMALLEST, &content);
    server.hub().breaks = vec![1_000_000, 2_000_000];
    inspect(&workspace, &server, REPOSITORY).succeeded();
    let asked = server.asked();
    let starts: Vec<Option<usize>> =
        asked.iter().filter(|asked| asked.of_storage).map(|asked| asked.start).collect();
    assert_eq!(starts, [None, Some(1_000_000), Some(3_000_000)]);
    // A part of something else is left from an earlier attempt: the hash tells.
    let workspace = Workspace::new();
    let hash = etag("model.safetensors", &content);
    workspace.write(&format!("{FOLDER}/blobs/{hash}.incomplete"), vec![7; 5000]);
    inspect(&workspace, &server, REPOSITORY).succeeded();
    assert_eq!(workspace.read(&format!("{FOLDER}/blobs/{hash}")), content);
}

#[test]
fn a_file_with_another_hash_is_refused_and_removed() {
    let (workspace, content) = (Workspace::new(), smallest());
    let server = HubServer::with_network(REPOSITORY, SMALLEST, &content);
    server.hub().tampers = true;
    let error = inspect(&workspace, &server, REPOSITORY).failed(1);
    let hash = etag("model.safetensors", &content);
    assert_says(&error, &["model.safetensors: has the SHA-256", &hash, "it was removed"]);
    assert!(workspace.names(&format!("{FOLDER}/blobs")).is_empty());
    // A file in the cache that was damaged is not used either.
    server.hub().tampers = false;
    inspect(&workspace, &server, REPOSITORY).succeeded();
    let blob = format!("{FOLDER}/blobs/{hash}");
    let mut damaged = content;
    damaged[1000] ^= 1;
    workspace.write(&blob, damaged);
    let error = inspect(&workspace, &server, REPOSITORY).failed(2);
    assert_says(&error, &[&hash, "is damaged", "remove", "downloaded again"]);
}

/// A limit on the size of files acts like a full disk.
#[cfg(unix)]
#[test]
fn a_full_disk_keeps_what_has_arrived() {
    let (workspace, content) = (Workspace::new(), smallest());
    let server = HubServer::with_network(REPOSITORY, SMALLEST, &content);
    let variables = format!("HF_ENDPOINT={} HF_HUB_OFFLINE=0 HF_HOME=huggingface", server.address);
    let limited = format!("ulimit -f 4000; {variables} $REGRAFT inspect hub:{REPOSITORY}");
    let error = workspace.shell(&limited).failed(1);
    assert_says(&error, &["no space is left for model.safetensors", "HF_HUB_CACHE", "resumes"]);
    inspect(&workspace, &server, REPOSITORY).succeeded();
    let mut starts = server.asked().into_iter().filter(|asked| asked.of_storage);
    let last = starts.next_back().expect("asked").start.expect("a part");
    assert!(last > 1_000_000, "{last}");
}

/// A commit that could not be downloaded does not hide the one that is in the cache.
#[test]
fn a_failed_update_leaves_the_earlier_commit() {
    let (workspace, content) = (Workspace::new(), smallest());
    let server = HubServer::with_network(REPOSITORY, SMALLEST, &content);
    inspect(&workspace, &server, REPOSITORY).succeeded();
    let mut other = content;
    other[5000] ^= 1;
    server.hub().files.insert("model.safetensors".to_owned(), other);
    server.hub().commit = "e".repeat(40);
    server.hub().tampers = true;
    let used = inspect(&workspace, &server, REPOSITORY).succeeded();
    assert_says(&used.stderr, &["has the SHA-256", "the commit 0123456789ab of", "is used"]);
    workspace.regraft(&format!("inspect hub:{REPOSITORY}")).succeeded();
}

#[test]
fn refusals_say_what_to_do() {
    let workspace = Workspace::new();
    let server = HubServer::with_network(REPOSITORY, SMALLEST, b"weights");
    let error = inspect(&workspace, &server, "someone/other").failed(2);
    assert_says(&error, &["has no repository someone/other", "check the name at http"]);
    let error = inspect(&workspace, &server, &format!("{REPOSITORY}@v2")).failed(2);
    assert_says(&error, &["someone/net.a1 has no revision v2", "branch, a tag or a commit"]);
    server.hub().files.remove("model.safetensors");
    let error = inspect(&workspace, &server, REPOSITORY).failed(2);
    assert_says(&error, &["has none of the files model.safetensors, pytorch_model.bin"]);
    server.hub().is_gated = true;
    let error = inspect(&workspace, &server, REPOSITORY).failed(2);
    assert_says(&error, &["is gated", "accept the terms at http", "HF_TOKEN"]);
    server.hub().token = Some("right".to_owned());
    let error = inspect(&workspace, &server, REPOSITORY).failed(2);
    assert_says(
        &error,
        &["answers 401", "does not exist, or is private", "into the variable HF_TOKEN"],
    );
    let mut environment = server.environment();
    environment.push(("HF_TOKEN", "wrong"));
    let command = format!("inspect hub:{REPOSITORY}");
    let error = workspace.regraft_with(&command, &environment).failed(2);
    assert_says(&error, &["refuses the token", "put a valid token"]);
    assert!(!error.contains("wrong"), "a secret is shown: {error}");
    for name in ["hub:someone", "hub:a/b@", "hub:../x"] {
        let error = workspace.regraft(&format!("inspect {name}")).failed(2);
        assert_says(&error, &[name, "hub:OWNER/NAME[@REVISION]", "--model hub:timm/"]);
        let error = workspace.regraft(&format!("train photos --model {name}")).failed(2);
        assert_says(&error, &["hub:OWNER/NAME[@REVISION]"]);
    }
    let both = format!("train photos --model hub:{REPOSITORY} --weights hub:{REPOSITORY}");
    assert_says(&workspace.regraft(&both).failed(2), &["names weights, and so does hub:"]);
}

#[test]
fn a_token_goes_to_the_hub_and_to_no_other_host() {
    let (workspace, content) = (Workspace::new(), smallest());
    let server = HubServer::with_network(REPOSITORY, SMALLEST, &content);
    server.hub().token = Some("secret".to_owned());
    workspace.write("huggingface/token", "secret\n");
    inspect(&workspace, &server, REPOSITORY).succeeded();
    let asked = server.asked();
    assert!(asked.iter().any(|asked| asked.of_storage));
    for request in asked {
        let expected = (!request.of_storage).then(|| "Bearer secret".to_owned());
        assert_eq!(request.authorization, expected, "{}", request.path);
    }
}

#[test]
fn offline_means_the_cache_alone_and_an_unreachable_hub_leaves_what_is_cached() {
    let (workspace, content) = (Workspace::new(), smallest());
    let server = HubServer::with_network(REPOSITORY, SMALLEST, &content);
    let command = format!("inspect hub:{REPOSITORY}");
    let error = workspace.regraft(&command).failed(2);
    assert_says(&error, &["is not in the cache", "HF_HUB_OFFLINE forbids", "unset HF_HUB_OFFLINE"]);
    inspect(&workspace, &server, REPOSITORY).succeeded();
    server.asked();
    workspace.regraft(&command).succeeded();
    assert_eq!(server.asked(), []);
    let unreachable = [("HF_HUB_OFFLINE", "0")];
    let used = workspace.regraft_with(&command, &unreachable).succeeded();
    assert_says(&used.stderr, &["cannot be reached", "the commit 0123456789ab of", "is used"]);
    // Not even a commit is used that lacks the weights.
    fs::remove_dir_all(workspace.path(&format!("{FOLDER}/snapshots"))).expect("removed");
    let error = workspace.regraft(&command).failed(2);
    assert_says(&error, &["is not in the cache"]);
}

#[test]
fn without_symbolic_links_files_lie_in_the_snapshot_itself() {
    let (workspace, content) = (Workspace::new(), smallest());
    let server = HubServer::with_network(REPOSITORY, SMALLEST, &content);
    let mut environment = server.environment();
    environment.push(("HF_HUB_DISABLE_SYMLINKS", "1"));
    let command = format!("inspect hub:{REPOSITORY}");
    workspace.regraft_with(&command, &environment).succeeded();
    let path = workspace.path(&format!("{FOLDER}/snapshots/{COMMIT}/model.safetensors"));
    assert!(fs::symlink_metadata(&path).expect("a file").is_file());
    assert_eq!(fs::read(&path).expect("read"), content);
    server.asked();
    workspace.regraft_with(&command, &environment).succeeded();
    assert_eq!(names(&server.asked()), ["HEAD model.safetensors"]);
    workspace.regraft(&command).succeeded();
}

#[test]
fn a_proxy_is_used_except_for_hosts_that_are_excluded() {
    let (workspace, content) = (Workspace::new(), smallest());
    let server = HubServer::with_network(REPOSITORY, SMALLEST, &content);
    let (proxy, hosts) = server.proxy();
    let environment = [
        ("HF_ENDPOINT", "http://hub.test"),
        ("HF_HUB_OFFLINE", "0"),
        ("HTTP_PROXY", &proxy),
        ("NO_PROXY", "localhost,127.0.0.1"),
    ];
    workspace.regraft_with(&format!("inspect hub:{REPOSITORY}"), &environment).succeeded();
    let hosts = hosts.lock().expect("kept");
    assert!(hosts.len() >= 3 && hosts.iter().all(|host| host == "hub.test:80"), "{hosts:?}");
    assert!(server.asked().iter().any(|asked| asked.of_storage), "asked without the proxy");
}

#[test]
fn two_at_once_download_a_file_once() {
    let (workspace, content) = (Workspace::new(), smallest());
    let server = HubServer::with_network(REPOSITORY, SMALLEST, &content);
    std::thread::scope(|scope| {
        let runs = [(); 3].map(|()| scope.spawn(|| inspect(&workspace, &server, REPOSITORY)));
        for run in runs {
            run.join().expect("it ran").succeeded();
        }
    });
    let asked = server.asked();
    assert_eq!(asked.iter().filter(|asked| asked.of_storage).count(), 1, "{:?}", names(&asked));
}
