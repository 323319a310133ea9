//! Classifiers: a model in Regraft's engine, or an exported ONNX file in rten.

use super::inference_failure;
use crate::arguments::{InferenceArguments, NamedModelArguments};
use crate::failure::Failure;
use regraft::evaluate_folder::{FolderEvaluation, evaluate_folder};
use regraft::inference::InferenceOptions;
use regraft::model::Model;
use regraft::predict::{Predictions, predict_files};
use regraft::progress::Progress;
use std::path::{Path, PathBuf};

/// A classifier for `regraft predict` and `regraft evaluate`.
pub trait Answering {
    /// If it is from, in words.
    fn origin(&self) -> String;
    fn architecture(&self) -> &str;
    /// Side of the network's input in pixels.
    fn image_size(&self) -> u32;
    /// Its classes, in the order of the logits.
    fn classes(&self) -> &[String];
    /// Notes on it.
    fn notes(&self) -> &[String];

    fn predict(
        &self,
        paths: &[PathBuf],
        top: usize,
        options: &InferenceOptions,
        report: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Predictions, Failure>;

    /// Scores a labelled folder. The outcome's notes hold those of [`Answering::notes`].
    fn evaluate(
        &self,
        folder: &Path,
        options: &InferenceOptions,
        report: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<FolderEvaluation, Failure>;
}

/// The classifier that is saved at `saved`, or else the one that the flags name.
#[cfg_attr(not(feature = "export"), allow(unused_variables))]
pub fn open(
    saved: Option<&Path>,
    named: &NamedModelArguments,
    inference: &InferenceArguments,
) -> Result<Box<dyn Answering>, Failure> {
    #[cfg(feature = "export")]
    if let Some(path) =
        saved.filter(|path| path.extension().is_some_and(|name| name.eq_ignore_ascii_case("onnx")))
    {
        return exported::open(path, named.temperature, inference);
    }
    Ok(Box::new(named.classifier(saved)?))
}

impl Answering for Model {
    fn origin(&self) -> String {
        self.origin.clone()
    }

    fn architecture(&self) -> &str {
        self.architecture()
    }

    fn image_size(&self) -> u32 {
        self.preprocessing.image_size
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn predict(
        &self,
        paths: &[PathBuf],
        top: usize,
        options: &InferenceOptions,
        report: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Predictions, Failure> {
        predict_files(self, paths, top, options, report).map_err(inference_failure)
    }

    fn evaluate(
        &self,
        folder: &Path,
        options: &InferenceOptions,
        report: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<FolderEvaluation, Failure> {
        evaluate_folder(self, folder, options, report).map_err(inference_failure)
    }
}

#[cfg(feature = "export")]
mod exported {
    use super::{
        Answering, Failure, FolderEvaluation, InferenceArguments, InferenceOptions, Path, PathBuf,
        Predictions, Progress,
    };
    use regraft::config::PrecisionChoice;
    use regraft::engines::{Device, DeviceChoice};
    use regraft_export::classifier::{Classifier, ClassifierError};

    /// An exported file.
    struct Exported {
        path: PathBuf,
        classifier: Classifier,
        notes: Vec<String>,
    }

    pub fn open(
        path: &Path,
        temperature: bool,
        inference: &InferenceArguments,
    ) -> Result<Box<dyn Answering>, Failure> {
        let options = inference.options()?;
        if !options.ranks.is_alone() {
            let path = path.display();
            return Err(Failure::input(anyhow::anyhow!(
                "{path} runs in one process, but {} were started",
                options.ranks.size()
            )));
        }
        let on_processor = [DeviceChoice::Auto, DeviceChoice::Listed(vec![Device::Cpu])];
        if !on_processor.contains(&options.device) {
            let path = path.display();
            return Err(Failure::input(anyhow::anyhow!(
                "{path} runs on the processor: leave --device out"
            )));
        }
        if options.precision != PrecisionChoice::F32 {
            let path = path.display();
            return Err(Failure::input(anyhow::anyhow!(
                "{path} computes in f32, whatever it stores: leave --precision out"
            )));
        }
        let classifier = Classifier::open(path, options.threads).map_err(failure)?;
        if temperature && !classifier.is_calibrated {
            let path = path.display();
            return Err(Failure::input(anyhow::anyhow!(
                "{path} is not calibrated: export its run again with --temperature, or leave \
                 --temperature out"
            )));
        }
        let notes = vec![format!("{} runs in rten, with images decoded whole", path.display())];
        Ok(Box::new(Exported { path: path.to_owned(), classifier, notes }))
    }

    fn failure(error: ClassifierError) -> Failure {
        Failure::of(error)
    }

    impl Answering for Exported {
        fn origin(&self) -> String {
            self.path.display().to_string()
        }

        fn architecture(&self) -> &str {
            &self.classifier.architecture
        }

        fn image_size(&self) -> u32 {
            self.classifier.preprocessing.image_size
        }

        fn classes(&self) -> &[String] {
            &self.classifier.classes
        }

        fn notes(&self) -> &[String] {
            &self.notes
        }

        fn predict(
            &self,
            paths: &[PathBuf],
            top: usize,
            options: &InferenceOptions,
            report: &mut (dyn FnMut(Progress) + Send),
        ) -> Result<Predictions, Failure> {
            self.classifier.predict_files(paths, top, options, report).map_err(failure)
        }

        fn evaluate(
            &self,
            folder: &Path,
            options: &InferenceOptions,
            report: &mut (dyn FnMut(Progress) + Send),
        ) -> Result<FolderEvaluation, Failure> {
            let mut found =
                self.classifier.evaluate_folder(folder, options, report).map_err(failure)?;
            found.notes.splice(..0, self.notes.iter().cloned());
            Ok(found)
        }
    }
}
