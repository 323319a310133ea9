//! A hub of the test's own, which answers as huggingface.co does: large files lie on another host,
//! and the hashes are in headers.

use regraft::nn::architectures;
use regraft::nn::graph::Graph;
use regraft::nn::initialize::{HeadInitialization, from_scratch};
use regraft::nn::parameters::parameters;
use regraft::nn::weights::{NamedTensor, StorageType, read_safetensors, write_safetensors};
use sha2::Digest;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub authorization: Option<String>,
    pub start: Option<usize>,
    /// Whether it came to the host of large files.
    pub of_storage: bool,
}

/// The content of the hub, and how it misbehaves.
pub struct Hub {
    pub repository: String,
    pub commit: String,
    pub files: BTreeMap<String, Vec<u8>>,
    /// The token without which it answers 401.
    pub token: Option<String>,
    pub is_gated: bool,
    /// How many bytes of a large file it sends before it breaks off, answer by answer.
    pub breaks: Vec<usize>,
    /// Whether large files come with a byte changed.
    pub tampers: bool,
    pub asked: Vec<Asked>,
}

pub struct HubServer {
    hub: Arc<Mutex<Hub>>,
    pub address: String,
}

/// A repository that is not timm's.
pub const REPOSITORY: &str = "someone/net.a1";
/// The smallest network with a repository of timm's.
pub const SMALLEST: &str = "mobilenetv3_small_100";
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

impl HubServer {
    /// One with this repository, `owner/name`.
    pub fn new(repository: &str, files: &[(&str, &[u8])]) -> Self {
        let files = files.iter().map(|(name, content)| ((*name).to_owned(), content.to_vec()));
        let hub = Arc::new(Mutex::new(Hub {
            repository: repository.to_owned(),
            commit: COMMIT.to_owned(),
            files: files.collect(),
            token: None,
            is_gated: false,
            breaks: Vec::new(),
            tampers: false,
            asked: Vec::new(),
        }));
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let [address, storage] = [0, 1]
            .map(|number: usize| listeners[number].local_addr().expect("an address").to_string());
        for (listener, of_storage) in listeners.into_iter().zip([false, true]) {
            let (hub, storage) = (Arc::clone(&hub), storage.clone());
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    answer(&hub, &storage, of_storage, stream.expect("a request"));
                }
            });
        }
        Self { hub, address: format!("http://{address}") }
    }

    /// One with a network's weights and its `config.json`.
    pub fn with_network(repository: &str, architecture: &str, weights: &[u8]) -> Self {
        let config = config(architecture, 1000);
        let files = [("model.safetensors", weights), ("config.json", config.as_bytes())];
        Self::new(repository, &files)
    }

    pub fn hub(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().expect("no test of it panicked")
    }

    /// The requests so far, which are forgotten.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.hub().asked)
    }

    /// The environment of a program that asks it.
    pub fn environment(&self) -> Vec<(&str, &str)> {
        vec![("HF_ENDPOINT", &self.address), ("HF_HUB_OFFLINE", "0")]
    }

    /// A proxy that leads `hub.test` to the hub. Returns its address, and the hosts that it was
    /// asked for.
    pub fn proxy(&self) -> (String, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let hosts = Arc::new(Mutex::new(Vec::new()));
        let (kept, hub) = (Arc::clone(&hosts), self.address.replace("http://", ""));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut client = stream.expect("a request");
                let lines = head(&client);
                let host = lines[0].split(' ').nth(1).expect("a host").to_owned();
                assert!(lines[0].starts_with("CONNECT hub.test:80 "), "{}", lines[0]);
                kept.lock().expect("kept").push(host);
                let mut server = TcpStream::connect(&hub).expect("the hub");
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("sent");
                let mut back =
                    (server.try_clone().expect("a stream"), client.try_clone().expect("one"));
                std::thread::spawn(move || std::io::copy(&mut back.0, &mut back.1));
                let _ = std::io::copy(&mut client, &mut server);
            }
        });
        (address, hosts)
    }
}

/// timm's `config.json` of a network.
pub fn config(architecture: &str, classes: usize) -> String {
    serde_json::json!({
        "architecture": architecture,
        "num_classes": classes,
        "pretrained_cfg": {
            "input_size": [3, 224, 224],
            "test_input_size": [3, 256, 256],
            "crop_pct": 0.965,
            "test_crop_pct": 1.0,
            "interpolation": "bicubic",
            "mean": [0.4, 0.5, 0.6],
            "std": [0.2, 0.2, 0.2],
        }
    })
    .to_string()
}

/// That network's weights.
pub fn smallest() -> Vec<u8> {
    weights(SMALLEST, 224, 1000)
}

/// A weight file of a network with random weights, for images of `image_size` pixels; without the
/// head if there are no classes.
pub fn weights(architecture: &str, image_size: usize, classes: usize) -> Vec<u8> {
    let graph = architectures::find(architecture).expect("known").graph();
    let graph = Graph { image_size, ..graph }.with_classes(classes.max(1));
    let state = from_scratch(&graph, 1, HeadInitialization::PyTorch);
    let backbone = graph.backbone();
    let kept =
        parameters(&graph).into_iter().filter(|tensor| classes > 0 || tensor.node < backbone);
    let tensors: Vec<NamedTensor> = kept
        .map(|tensor| {
            let values = state[&tensor.name].clone();
            NamedTensor { name: tensor.name, shape: tensor.shape, values }
        })
        .collect();
    bytes_of(&tensors)
}

/// A file of timm's ViT with the names of transformers, and query, key and value apart.
pub fn in_transformers(content: &[u8]) -> Vec<u8> {
    const PARTS: [(&str, &str); 9] = [
        ("cls_token", "embeddings.cls_token"),
        ("pos_embed", "embeddings.position_embeddings"),
        ("patch_embed.proj.", "embeddings.patch_embeddings.projection."),
        ("blocks.", "encoder.layer."),
        ("attn.proj.", "attention.output.dense."),
        ("norm1.", "layernorm_before."),
        ("norm2.", "layernorm_after."),
        ("mlp.fc1.", "intermediate.dense."),
        ("mlp.fc2.", "output.dense."),
    ];
    let file = read_safetensors(content, "made").expect("a weight file");
    let renamed = file.tensors.into_iter().flat_map(|tensor| {
        let name = PARTS
            .iter()
            .fold(tensor.name.clone(), |name, (ours, theirs)| name.replace(ours, theirs));
        let name = match (name.strip_prefix("norm."), name.strip_prefix("head.")) {
            (Some(parameter), _) => format!("vit.layernorm.{parameter}"),
            (_, Some(parameter)) => format!("classifier.{parameter}"),
            _ => format!("vit.{name}"),
        };
        if !name.contains("attn.qkv") {
            return vec![NamedTensor { name, ..tensor }];
        }
        let mut shape = tensor.shape.clone();
        shape[0] /= 3;
        let thirds = tensor.values.chunks(tensor.values.len() / 3);
        let part = |(part, values): (&str, &[f32])| NamedTensor {
            name: name.replace("attn.qkv", &format!("attention.attention.{part}")),
            shape: shape.clone(),
            values: values.to_vec(),
        };
        ["query", "key", "value"].into_iter().zip(thirds).map(part).collect()
    });
    bytes_of(&renamed.collect::<Vec<_>>())
}

fn bytes_of(tensors: &[NamedTensor]) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    write_safetensors(&path, tensors, &BTreeMap::new(), StorageType::F32).expect("written");
    std::fs::read(&path).expect("read")
}

pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The hash that the hub says for a file: SHA-256 for large ones, git's for small ones.
pub fn etag(name: &str, content: &[u8]) -> String {
    if is_large(name) {
        return hexadecimal(&sha2::Sha256::digest(content));
    }
    let mut hash = sha1::Sha1::new();
    hash.update(format!("blob {}\0", content.len()));
    hash.update(content);
    hexadecimal(&hash.finalize())
}

fn is_large(name: &str) -> bool {
    !name.ends_with(".json")
}

fn head(stream: &TcpStream) -> Vec<String> {
    let lines = BufReader::new(stream.try_clone().expect("a stream")).lines();
    lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect()
}

fn answer(hub: &Mutex<Hub>, storage: &str, of_storage: bool, mut stream: TcpStream) {
    let lines = head(&stream);
    let Some((method, path)) = lines.first().and_then(|line| {
        let mut words = line.split(' ');
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    }) else {
        return;
    };
    let value = |name: &str| {
        lines.iter().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let start = value("range")
        .and_then(|range| range.trim_start_matches("bytes=").trim_end_matches('-').parse().ok());
    let mut hub = hub.lock().expect("no test of it panicked");
    let authorization = value("authorization");
    hub.asked.push(Asked {
        method: method.clone(),
        path: path.clone(),
        authorization: authorization.clone(),
        start,
        of_storage,
    });
    let mut send = |status: &str, headers: &[(&str, &str)], body: &[u8], sent: usize| {
        let mut text = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
        headers.iter().for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
        text.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        let _ = stream.write_all(text.as_bytes());
        if method != "HEAD" {
            let _ = stream.write_all(&body[..sent.min(body.len())]);
        }
        // Otherwise a client that has sent more than was read sees a reset.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read(&mut [0]);
    };
    if of_storage {
        let mut content = hub.files[path.trim_start_matches('/')].clone();
        if hub.tampers {
            content[20] ^= 1;
        }
        let sent = if hub.breaks.is_empty() { usize::MAX } else { hub.breaks.remove(0) };
        let (whole, begin) = (content.len(), start.unwrap_or(0));
        let range = format!("bytes {begin}-{}/{whole}", whole - 1);
        return match start {
            Some(_) => {
                send("206 Partial Content", &[("Content-Range", &range)], &content[begin..], sent);
            }
            None => send("200 OK", &[], &content, sent),
        };
    }
    let wanted = hub.token.as_ref().map(|token| format!("Bearer {token}"));
    if wanted.is_some() && authorization != wanted {
        let message = match authorization {
            Some(_) => "Invalid credentials in Authorization header",
            None => "Repository not found",
        };
        return send("401 Unauthorized", &[("X-Error-Message", message)], b"", 0);
    }
    let prefix = format!("/{}/resolve/", hub.repository);
    let Some((revision, name)) = path.strip_prefix(&prefix).and_then(|rest| rest.split_once('/'))
    else {
        return send("404 Not Found", &[("X-Error-Code", "RepoNotFound")], b"", 0);
    };
    if hub.is_gated {
        return send("403 Forbidden", &[("X-Error-Code", "GatedRepo")], b"", 0);
    }
    if revision != "main" && revision != hub.commit {
        return send("404 Not Found", &[("X-Error-Code", "RevisionNotFound")], b"", 0);
    }
    let commit = hub.commit.clone();
    let commit = ("X-Repo-Commit", &commit[..]);
    let Some(content) = hub.files.get(name) else {
        let headers = [commit, ("X-Error-Code", "EntryNotFound")];
        return send("404 Not Found", &headers, b"", 0);
    };
    let quoted = format!("\"{}\"", etag(name, content));
    if value("if-none-match").as_deref() == Some(&quoted) {
        return send("304 Not Modified", &[commit], b"", 0);
    }
    if !is_large(name) {
        return send("200 OK", &[commit, ("ETag", &quoted)], content, usize::MAX);
    }
    let (size, location) = (content.len().to_string(), format!("http://{storage}/{name}"));
    let headers =
        [commit, ("X-Linked-Etag", &quoted), ("X-Linked-Size", &size), ("Location", &location)];
    send("302 Found", &headers, b"", 0);
}
