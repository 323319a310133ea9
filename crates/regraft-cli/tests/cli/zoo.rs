//! `regraft models` and `regraft bench zoo`: the weights at hand, their speed, and which of them
//! suit images.

use crate::hub_server::{HubServer, SMALLEST, smallest};
use crate::outcome::assert_says;
use crate::workspace::Workspace;
use serde_json::Value;

const REPOSITORY: &str = "timm/mobilenetv3_small_100.lamb_in1k";

fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    let entries = list.as_array().expect("a list");
    entries.iter().find(|entry| entry["name"] == name).expect("the model")
}

#[test]
fn models_shows_what_is_at_hand() {
    let (workspace, content) = (Workspace::new(), smallest());
    let server = HubServer::with_network(REPOSITORY, SMALLEST, &content);
    let listed = workspace.regraft("models --json").succeeded().json();
    assert_eq!(listed.as_array().expect("a list").len(), 59);
    let entry = named(&listed, SMALLEST);
    assert_eq!(entry["cached_bytes"], Value::Null);
    assert_eq!(entry["images_per_second"], Value::Null);
    assert_eq!(
        (&entry["licence"], &entry["repository"]),
        (&"Apache-2.0".into(), &REPOSITORY.into())
    );
    // The estimate is close to the file, which has no counters of batches.
    let estimate = entry["download_bytes"].as_f64().expect("a size");
    assert!((estimate / content.len() as f64 - 1.0).abs() < 0.01, "{estimate}");
    let entry = named(&listed, "mobilenet_v3_small");
    assert_eq!((&entry["repository"], &entry["download_bytes"]), (&Value::Null, &Value::Null));

    let command = format!("predict --model {SMALLEST} {}", crate::workspace::SAMPLE);
    workspace.regraft_with(&command, &server.environment()).succeeded();
    workspace.regraft(&format!("bench zoo {SMALLEST} --batch 1 --steps 1")).succeeded();
    let listed = workspace.regraft("models --json").succeeded().json();
    let entry = named(&listed, SMALLEST);
    assert_eq!(entry["cached_bytes"], content.len());
    assert!(entry["images_per_second"].as_f64().expect("measured") > 0.0);
    let shown = workspace.regraft("models --cached").succeeded().stdout;
    let models: Vec<&str> = shown.lines().skip(1).take_while(|line| !line.is_empty()).collect();
    assert_eq!(models.len(), 1 + usize::from(cfg!(feature = "embedded")), "{shown}");
    assert_says(&shown, &["cached, ", "67.6 %", "timm"]);
    // A speed of other threads is another one.
    let other = workspace.regraft("models --json --threads 7").succeeded().json();
    assert_eq!(named(&other, SMALLEST)["images_per_second"], Value::Null);
    let error = workspace.regraft("bench zoo mobilenetv3_smal_100").failed(2);
    assert_says(&error, &["no model mobilenetv3_smal_100 (did you mean mobilenetv3_small_100"]);
}

#[cfg(feature = "embedded")]
#[test]
fn models_at_hand_are_ranked_on_images() {
    let (workspace, content) = (Workspace::with_photos(), smallest());
    let server = HubServer::with_network(REPOSITORY, SMALLEST, &content);
    let command = format!("predict --model {SMALLEST} photos/test");
    workspace.regraft_with(&command, &server.environment()).succeeded();
    let found = workspace.regraft("models --suggest photos --budget 1h --json").succeeded();
    let found = found.json();
    let models = found["models"].as_array().expect("a list");
    assert_eq!((&found["images"], &found["sample"], models.len()), (&10.into(), &10.into(), 2));
    let of = |model: &str| {
        models.iter().find(|found| found["model"] == model).expect("tried")["accuracy"].as_f64()
    };
    assert_eq!(of("efficientnet_lite0"), Some(1.0));
    assert!(models[0]["accuracy"].as_f64() >= models[1]["accuracy"].as_f64(), "{found}");
    assert!(of(SMALLEST).is_some());
    let shown = workspace.regraft("models --suggest photos --budget 1ms --sample 4").succeeded();
    assert_says(&shown.stdout, &["no model fits into the budget", "to 4 of 10 training images"]);
    assert_says(&shown.stderr, &["trying efficientnet_lite0", "trying mobilenetv3_small_100"]);
    let error = workspace.regraft("models --suggest nowhere").failed(2);
    assert_says(&error, &["nowhere"]);
    assert_says(&workspace.regraft("models --budget 5m").failed(2), &["--suggest"]);
}
