//! Advice in terms of flags, for errors of the library, which knows no flags.

use regraft::audit::AuditError;
use regraft::compare::CompareError;
use regraft::compare::arms::ArmsError;
use regraft::config::{ConfigError, Contradiction, option};
use regraft::evaluate::EvaluateError;
#[cfg(feature = "fetch")]
use regraft::fetch::FetchError;
use regraft::hub::HubError;
use regraft::inference::InferenceError;
use regraft::model::ModelError;
use regraft::pictures::{PicturesError, UnreadableFiles};
use regraft::run_folder::RunFolderError;
use regraft::suggest::SuggestError;
use regraft::train::TrainError;
use regraft::transfer::fit::FitError;
use regraft::transfer::head::GraftError;
#[cfg(feature = "export")]
use regraft_export::classifier::ClassifierError;

/// An error that may come with advice.
pub trait Hint {
    /// Advice for the user, as a sentence without a capital letter and a full stop.
    fn hint(&self) -> Option<String>;
}

/// The hint of an error of any type that has hints.
pub fn of(error: &anyhow::Error) -> Option<String> {
    macro_rules! first_of {
        ($($type:ty),+ $(,)?) => {
            None$(.or_else(|| error.downcast_ref::<$type>().and_then(Hint::hint)))+
        };
    }
    let found: Option<String> = first_of![
        TrainError,
        CompareError,
        ArmsError,
        InferenceError,
        AuditError,
        ConfigError,
        ModelError,
        RunFolderError,
        SuggestError,
    ];
    #[cfg(feature = "export")]
    let found = found.or_else(|| error.downcast_ref::<ClassifierError>().and_then(Hint::hint));
    #[cfg(feature = "fetch")]
    let found = found.or_else(|| error.downcast_ref::<FetchError>().and_then(Hint::hint));
    found
}

fn some(text: impl Into<String>) -> Option<String> {
    Some(text.into())
}

const TO_MAKE_STEPS: &str = "use --epochs 5 to train the head further, --freeze none to train all \
    layers, or --head new to train a new head";
const FEWER_THREADS: &str =
    "the system limits processes or memory; raise the limit, or use a smaller --threads";
const LOWER_RATE: &str = "use another model, or train again with a lower --lr";

impl Hint for TrainError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Model(error) => error.hint(),
            Self::Pictures(error) => error.hint(),
            Self::Evaluate(error) => error.hint(),
            Self::Graft(error) => error.hint(),
            Self::Fit(error) => error.hint(),
            Self::RunFolder(error) => error.hint(),
            Self::Diverged(divergence) => some(format!(
                "use a lower --lr (it was {:?}) or a longer --warmup",
                divergence.learning_rate
            )),
            Self::NoRate => some("use --freeze none to train all layers, or --head new"),
            Self::SmallBudget { needed, .. } => {
                some(format!("use --budget {} or more", String::from(*needed)))
            }
            Self::BudgetFromScratch => some("use --epochs"),
            Self::OtherRun { .. } => {
                some("undo these changes, or start another run without --resume")
            }
            _ => None,
        }
    }
}

impl Hint for ConfigError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Contradiction(error) => error.hint(),
            Self::WithoutSteps { options } => {
                let flag = |name: &String| option(name).and_then(|option| option.flag());
                let flags: Vec<String> =
                    options.iter().filter_map(flag).map(|flag| format!("--{flag}")).collect();
                some(format!("leave {} out, or {TO_MAKE_STEPS}", flags.join(", ")))
            }
            _ => None,
        }
    }
}

impl Hint for Contradiction {
    fn hint(&self) -> Option<String> {
        some(match self {
            Self::NoData => "name a folder, a table or an archive of images",
            Self::NothingToTrain => "use --epochs 1 or more, or --head fit",
            Self::HeadMapWithoutReuse => "leave --head-map out, or use --head reuse",
            Self::AutoWithoutFit => {
                "use --head fit, or --freeze none, backbone, through=LAYER or gradual=EPOCHS"
            }
            Self::RefitWithoutFit => "leave --refit out, or use --head fit",
            Self::RefitOfViews => "leave --refit or --views out",
            Self::LongWarmup { .. } => "use a shorter --warmup or more --epochs",
            Self::PatienceWithoutBest => "leave --patience out, or use --recipe default",
            Self::SyncOfRunning => "leave --sync-batch-norm out, or add --batch-norm batch",
        })
    }
}

const FROM_SCRATCH: &str = "train from scratch with --weights none";

fn a_file(files: &str) -> String {
    format!(
        "name a file with --weights, such as {files}, from https://download.pytorch.org/models/ or \
         https://huggingface.co/timm"
    )
}

impl Hint for HubError {
    fn hint(&self) -> Option<String> {
        some(match self {
            Self::Name { .. } => {
                "write it as in --model hub:timm/resnet18.a1_in1k; a file of that name is ./hub:..."
                    .to_owned()
            }
            Self::NoCacheFolder => "name a folder with the variable HF_HUB_CACHE".to_owned(),
            Self::Offline { .. } => "unset HF_HUB_OFFLINE to download them".to_owned(),
            Self::NotCached { .. } => {
                "build Regraft with its feature `fetch`, or download them with Python's \
                 huggingface_hub"
                    .to_owned()
            }
            Self::Unreachable { .. } => {
                "check the connection, HTTPS_PROXY and HF_ENDPOINT, or try later".to_owned()
            }
            Self::Unauthorized { endpoint, with_token: false, .. } => format!(
                "check its name; if it is private, put a token from {endpoint}/settings/tokens \
                 into the variable HF_TOKEN"
            ),
            Self::Unauthorized { .. } => {
                "check its name, and that the token in HF_TOKEN may read it".to_owned()
            }
            Self::WrongToken { endpoint } => format!(
                "put a valid token from {endpoint}/settings/tokens into the variable HF_TOKEN, or \
                 unset it; `hf auth login` writes the token file"
            ),
            Self::Gated { endpoint, repository, .. } => format!(
                "accept the terms at {endpoint}/{repository}, and put a token from \
                 {endpoint}/settings/tokens into the variable HF_TOKEN"
            ),
            Self::NoRepository { endpoint, repository } => {
                format!("check the name at {endpoint}/{repository}")
            }
            Self::NoRevision { .. } => "name a branch, a tag or a commit after the @".to_owned(),
            Self::NoFile { .. } => "name a repository of an image classifier from timm".to_owned(),
            Self::NotAHub { .. } => "check HF_ENDPOINT and the proxy".to_owned(),
            Self::Mismatch { .. } => "try again; check HF_ENDPOINT and the proxy".to_owned(),
            Self::OtherWeights { .. } => {
                "remove the snapshot from the cache, so that it is downloaded again".to_owned()
            }
            Self::Damaged { path, .. } => {
                format!("remove {}, so that it is downloaded again", path.display())
            }
            Self::NoSpace { .. } => {
                "free some space, or name another folder with the variable HF_HUB_CACHE; the same \
                 command resumes the download"
                    .to_owned()
            }
            Self::File { .. } => {
                "check the folder, or name another one for the cache with the variable HF_HUB_CACHE"
                    .to_owned()
            }
            #[cfg(feature = "fetch")]
            Self::Fetch(error) => return error.hint(),
        })
    }
}

impl Hint for ModelError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoWeights { files, .. } => some(format!("{}; or {FROM_SCRATCH}", a_file(files))),
            Self::NoDownload { files, error, .. } => {
                let remedy = error.hint().map_or_else(String::new, |hint| format!("{hint}; or "));
                some(format!("{remedy}{}; or {FROM_SCRATCH}", a_file(files)))
            }
            Self::Hub(error) => error.hint(),
            Self::TwoSources { .. } => some("leave --model or --weights out"),
            Self::NotEmbedded => some("use --weights FILE or --weights none"),
            Self::NoArchitecture { origin } => {
                some(format!("name the architecture too: --model NAME --weights {origin}"))
            }
            Self::OtherArchitecture { .. } => {
                some("leave --model out, or name another file with --weights")
            }
            Self::NoTemperature { .. } => some(
                "leave --temperature out, or train with a validation set, such as --val-fraction \
                 0.1",
            ),
            _ => None,
        }
    }
}

impl Hint for PicturesError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable(error) => error.hint(),
            _ => None,
        }
    }
}

impl Hint for UnreadableFiles {
    fn hint(&self) -> Option<String> {
        some("repair or remove the files, or skip them with --on-bad-image skip")
    }
}

impl Hint for EvaluateError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NotFinite { .. } => some(LOWER_RATE),
            _ => None,
        }
    }
}

impl Hint for GraftError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NothingToReuse { .. } => some("use --head new or --head fit"),
            Self::Map(_) => None,
        }
    }
}

impl Hint for FitError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::TooFew(_) => some("add images, or use --head new"),
            Self::Threads(_) => some(FEWER_THREADS),
            Self::Regression(_) => None,
        }
    }
}

impl Hint for RunFolderError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NotEmpty { .. } => some(
                "name another folder with --output, or replace the files of an earlier run with \
                 --force",
            ),
            Self::Busy { .. } => {
                some("wait until it has ended, or name another folder with --output")
            }
            Self::NoRun { .. } => some("name a folder that `regraft train` wrote"),
            Self::NotAFolder { .. } | Self::NoName { .. } | Self::Io(_) => {
                some("name another folder with --output")
            }
            Self::NotAFile { .. } => None,
        }
    }
}

impl Hint for CompareError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Changed { folder, .. } => some(format!(
                "give the changed arm another name, remove {}, or name another folder with \
                 --output",
                folder.display()
            )),
            Self::Folder(error) => error.hint(),
            Self::Config(error) => error.hint(),
            _ => None,
        }
    }
}

impl Hint for ArmsError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Config { source, .. } => source.hint(),
            _ => None,
        }
    }
}

impl Hint for InferenceError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable(error) => error.hint(),
            Self::Evaluate(error) => error.hint(),
            _ => None,
        }
    }
}

impl Hint for SuggestError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Pictures(error) => error.hint(),
            Self::Unreadable(_) => {
                some("repair or remove the files, or leave them out by --exclude")
            }
            Self::Fit(error) => error.hint(),
            Self::NoModel => some(
                "train once with --model NAME, which downloads its weights; `regraft models` lists \
                 the names",
            ),
        }
    }
}

impl Hint for AuditError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Model(error) => error.hint(),
            Self::Inference(error) => error.hint(),
            Self::Threads(_) => some(FEWER_THREADS),
            _ => None,
        }
    }
}

#[cfg(feature = "export")]
impl Hint for ClassifierError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Inference(error) => error.hint(),
            _ => None,
        }
    }
}

#[cfg(feature = "fetch")]
impl Hint for FetchError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Exists { .. } => some("remove it, or name another place with --output"),
            Self::NoName { .. } => some("name the place with --output"),
            Self::Locked { .. } => some("wait for it, or name another place with --output"),
            Self::TooLarge { .. } => some("allow more with --max-size if that is right"),
            Self::Broken { .. } => some("the same command resumes the download"),
            _ => None,
        }
    }
}
