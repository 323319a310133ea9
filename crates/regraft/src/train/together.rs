//! How the ranks of a run come to hold the same, and find out that they do.

use super::data_list::DataList;
use super::error::TrainError;
use super::state::TrainState;
use crate::hashing::hash_tensors;
use crate::ranks::Ranks;
use regraft_data::catalogue::Catalogue;
use regraft_nn::engine::{Engine, State};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;

/// Refuses ranks whose network or optimiser differs from that of rank 0.
pub(super) fn same_tensors(ranks: &Ranks, engine: &dyn Engine) -> Result<(), TrainError> {
    let tensors: State = engine.state().into_iter().chain(engine.optimizer_state()).collect();
    let mut hash = Sha256::new();
    hash_tensors(&mut hash, &tensors);
    let Some(rank) = ranks.first_other(&hash.finalize()) else { return Ok(()) };
    // All ranks know that they differ, and look for the tensor.
    let hashes: BTreeMap<&String, Vec<u8>> = tensors
        .iter()
        .map(|one| {
            let mut hash = Sha256::new();
            hash_tensors(&mut hash, [one]);
            (one.0, hash.finalize().to_vec())
        })
        .collect();
    let own = hashes.iter().map(|(name, hash)| ((*name).clone(), hash.clone())).collect();
    let all: Vec<BTreeMap<String, Vec<u8>>> = ranks.exchange_values::<BTreeMap<_, _>>(&own);
    let differs = |name: &&String| all[rank].get(*name) != all[0].get(*name);
    let tensor = all[0].keys().chain(all[rank].keys()).find(differs).cloned();
    Err(TrainError::RanksDiffer { rank, tensor: tensor.unwrap_or_default() })
}

/// A run's tensors by group, without their values.
#[derive(Serialize, Deserialize)]
struct Outline {
    state: TrainState,
    /// Names and lengths of the tensors of each group.
    groups: Vec<(String, Vec<(String, usize)>)>,
}

const NETWORK: &str = "network";
const OPTIMIZER: &str = "optimizer";
const AVERAGE: &str = "average";
/// The start of the names of the groups of [`TrainState::tensors`].
const KEPT: &str = "kept/";

/// Takes all ranks to where rank 0 is: its state, network, optimiser and running average.
pub(super) fn follow_run(
    ranks: &Ranks,
    engine: &mut dyn Engine,
    state: &mut TrainState,
) -> Result<(), TrainError> {
    let mut groups: Vec<(String, State)> = Vec::new();
    if ranks.is_first() {
        groups.push((NETWORK.into(), engine.state()));
        groups.push((OPTIMIZER.into(), engine.optimizer_state()));
        groups.extend(engine.average().map(|average| (AVERAGE.into(), average)));
        let kept = state.tensors.iter();
        groups.extend(kept.map(|(name, tensors)| (format!("{KEPT}{name}"), tensors.clone())));
    }
    let names = |tensors: &State| {
        tensors.iter().map(|(name, values)| (name.clone(), values.len())).collect()
    };
    let outline = Outline {
        state: state.clone(),
        groups: groups.iter().map(|(group, tensors)| (group.clone(), names(tensors))).collect(),
    };
    let outline = ranks.of_first(&outline);
    let mut values: Vec<f32> =
        groups.iter().flat_map(|(_, tensors)| tensors.values().flatten()).copied().collect();
    let lengths = outline.groups.iter().flat_map(|(_, names)| names).map(|(_, length)| length);
    values.resize(lengths.sum(), 0.0);
    ranks.follow_first(&mut values);
    if ranks.is_first() {
        return Ok(());
    }
    *state = outline.state;
    engine.load_average(None)?;
    let mut rest = &values[..];
    for (group, names) in outline.groups {
        let mut tensors = State::new();
        for (name, length) in names {
            let (own, others) = rest.split_at(length);
            tensors.insert(name, own.to_vec());
            rest = others;
        }
        match group.as_str() {
            NETWORK => engine.load_state(&tensors)?,
            OPTIMIZER => engine.load_optimizer_state(&tensors)?,
            AVERAGE => engine.load_average(Some(&tensors))?,
            kept => {
                let name = kept.strip_prefix(KEPT).unwrap_or(kept);
                state.tensors.insert(name.to_owned(), tensors);
            }
        }
    }
    Ok(())
}

/// Refuses ranks that do not list the same images: of the same names and classes, in the same
/// order. The folders that hold them may be elsewhere.
pub(super) fn same_images(
    ranks: &Ranks,
    data: &Path,
    listed: &Catalogue,
) -> Result<(), TrainError> {
    if ranks.is_alone() {
        return Ok(());
    }
    let mut hash = Sha256::new();
    listed.classes.iter().for_each(|class| hash.update(format!("{class}\n")));
    let names = DataList::names(listed);
    names.iter().for_each(|name| hash.update(format!("{name}\n")));
    let own = (hash.finalize().to_vec(), listed.classes.len(), names.len());
    let all = ranks.exchange_values(&own);
    let Some(rank) = all.iter().position(|other| other.0 != all[0].0) else { return Ok(()) };
    let count = |rank: usize| format!("{} images of {} classes", all[rank].2, all[rank].1);
    let difference = match (count(rank), count(0)) {
        (own, first) if own == first => format!("{own} as rank 0, but with other names"),
        (own, first) => format!("{own}, and rank 0 {first}"),
    };
    Err(TrainError::OtherImages { rank, data: data.to_owned(), difference })
}
