//! The identity of a run: its options, images and source. A checkpoint is resumed only if they are
//! the same.

use super::data_list::DataList;
use crate::config::{Difference, Effect, Schedule, TrainConfig, differences, options};
use crate::engines;
use crate::hashing::{hash_tensors, hexadecimal};
use regraft_nn::engine::Engine;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// The options, images and source of a run, and the hardware that it runs on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// Every resolved option, by name.
    pub config: Map<String, Value>,
    /// SHA-256 of the list of images, which holds their contents' hashes.
    pub data: String,
    /// SHA-256 of the network before the first step.
    pub source: String,
    /// Version of Regraft.
    pub version: String,
    /// The instruction set of the kernels.
    pub instruction_set: String,
    /// Number format of feature maps.
    pub precision: String,
    /// The number of ranks that train together.
    #[serde(default = "one")]
    pub ranks: usize,
}

fn one() -> usize {
    1
}

impl Identity {
    /// That of a run whose engine has made no step yet.
    #[must_use]
    pub fn of(config: &TrainConfig, pictures: &DataList, engine: &dyn Engine) -> Self {
        let mut source = Sha256::new();
        hash_tensors(&mut source, &engine.state());
        Self {
            config: options(config),
            data: pictures.hash(),
            source: hexadecimal(&source.finalize()),
            version: env!("CARGO_PKG_VERSION").into(),
            instruction_set: engines::instruction_set().into(),
            precision: engine.precision().name().into(),
            ranks: engine.share().size,
        }
    }

    /// Reasons why the run that is asked for now cannot resume this one, in words; none
    /// where it may. Images that differ are not among them: [`DataList::differences`] names them.
    #[must_use]
    pub fn differences(&self, now: &Self, epochs_done: u32) -> Vec<String> {
        let mut found = self.option_differences(&now.config, epochs_done);
        if self.source != now.source {
            found.push("the source model's weights are others".into());
        }
        found
    }

    /// Those of [`Self::differences`] that the options alone tell, which are `now`.
    #[must_use]
    pub fn option_differences(&self, now: &Map<String, Value>, epochs_done: u32) -> Vec<String> {
        let words = |value: Option<&Value>| match value {
            None | Some(Value::Null) => "not given".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        };
        let constant = |config: &Map<String, Value>| {
            config
                .get("schedule")
                .is_some_and(|schedule| *schedule == serde_json::json!(Schedule::Constant))
        };
        // Options that a former version did not know had their defaults.
        let known = serde_json::from_value::<TrainConfig>(Value::Object(self.config.clone()));
        let config = known.map_or_else(|_| self.config.clone(), |known| options(&known));
        let mut found = Vec::new();
        for difference in differences(&config, now) {
            if difference.effect() != Effect::Result {
                continue;
            }
            let Difference { name, before, after } = difference;
            let mut line =
                format!("{name} was {} and is {}", words(before.as_ref()), words(after.as_ref()));
            if name == "epochs" {
                let enough = after.as_ref().and_then(Value::as_u64) >= Some(u64::from(epochs_done));
                match (constant(&self.config), enough) {
                    (true, true) => continue,
                    (true, false) => line.push_str(&format!(", but {epochs_done} are done")),
                    (false, _) => line.push_str(", which only a constant schedule allows"),
                }
            }
            found.push(line);
        }
        found
    }

    /// Reasons why the numbers of a resumed run may differ in rounding from one that was not
    /// interrupted, in words.
    #[must_use]
    pub fn remarks(&self, now: &Self) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.instruction_set != now.instruction_set {
            remarks.push(format!(
                "the run began with the instruction set {} and continues with {}, which rounds \
                 differently: the weights will not be, to the \
                 bit, those of a run on one machine (REGRAFT_ISA={0} asks for the first)",
                self.instruction_set, now.instruction_set
            ));
        }
        if self.ranks != now.ranks {
            let ranks = |count: usize| match count {
                1 => "1 rank".to_owned(),
                count => format!("{count} ranks"),
            };
            let option = |name: &str| now.config.get(name).and_then(Value::as_str);
            let syncs = now.config.get("sync_batch_norm").and_then(Value::as_bool);
            // Each rank then has other images to normalise with.
            let effect = if option("batch_norm") == Some("batch") && syncs != Some(true) {
                "cuts batches into other shares, each with batch-norm statistics of its own: it \
                 trains differently from here on (--sync-batch-norm makes that independent of the \
                 number of ranks)"
            } else {
                "adds gradients up in another order: the weights will differ in rounding from \
                 those of a run with one number of ranks"
            };
            remarks.push(format!(
                "the run began with {} and continues with {}, which {effect}",
                ranks(self.ranks),
                ranks(now.ranks)
            ));
        }
        if self.version != now.version {
            remarks.push(format!(
                "the run began with Regraft {} and continues with {}",
                self.version, now.version
            ));
        }
        remarks
    }
}
