//! Runs an exported file in an independent engine: rten.

use crate::onnx::{LOGITS, PIXELS, PROBABILITIES, TENSOR};
use crate::well_formed::is_well_formed;
use crate::widen::widened;
use regraft::data::RgbImage;
use rten::{Model, NodeId, RunOptions, ThreadPool, Value, ValueOrView};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// A file that rten cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// It is not an ONNX file, or uses operators that rten lacks.
    #[error("rten cannot load the file: {0}")]
    Load(#[source] Box<rten::LoadError>),
    /// It does not have the form of an exported file.
    #[error("the file is damaged, or has parts that no exported file has")]
    Damaged,
    /// Its inputs or outputs are not those of an exported file.
    #[error("the file has no {0}, which a file of `regraft export` has")]
    NoNode(&'static str),
    /// An operator failed.
    #[error("rten cannot run the file: {0}")]
    Run(String),
}

/// The answers of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Answers {
    /// `[N, classes]`
    pub logits: Vec<f32>,
    /// `[N, classes]`
    pub probabilities: Vec<f32>,
}

/// An exported file, loaded.
pub struct Runtime {
    model: Model,
    outputs: [NodeId; 2],
    threads: Arc<ThreadPool>,
}

impl Runtime {
    /// Loads the bytes of a file to run on `threads` threads (0: one for each core).
    ///
    /// # Errors
    /// If rten cannot load it, or Regraft did not export it.
    pub fn load(file: &[u8], threads: usize) -> Result<Self, RuntimeError> {
        let file =
            widened(file).filter(|file| is_well_formed(file)).ok_or(RuntimeError::Damaged)?;
        // A damaged file may make rten panic.
        let model = catch_unwind(|| Model::load(file)).map_err(|_| RuntimeError::Damaged)?;
        let model = model.map_err(|error| RuntimeError::Load(Box::new(error)))?;
        let output = |name| model.find_node(name).ok_or(RuntimeError::NoNode(name));
        let outputs = [output(LOGITS)?, output(PROBABILITIES)?];
        let threads = Arc::new(ThreadPool::with_num_threads(threads));
        Ok(Self { model, outputs, threads })
    }

    /// An entry of the file's metadata.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.model.metadata().get(key)
    }

    /// The answers for one unprepared image.
    ///
    /// # Errors
    /// If the file takes no pixels, or an operator fails.
    pub fn pixels(&self, image: &RgbImage) -> Result<Answers, RuntimeError> {
        let shape = [1, image.height as usize, image.width as usize, 3];
        self.run(PIXELS, Value::from_shape(&shape, image.pixels.clone()))
    }

    /// The answers for normalised images `[N, 3, S, S]`.
    ///
    /// # Errors
    /// If the file takes pixels, or an operator fails.
    pub fn tensor(&self, images: Vec<f32>, size: usize) -> Result<Answers, RuntimeError> {
        let count = images.len() / (3 * size * size).max(1);
        self.run(TENSOR, Value::from_shape(&[count, 3, size, size], images))
    }

    fn run<E: std::fmt::Display>(
        &self,
        input: &'static str,
        value: Result<Value, E>,
    ) -> Result<Answers, RuntimeError> {
        let failed = |error: &dyn std::fmt::Display| RuntimeError::Run(error.to_string());
        let value = value.map_err(|error| failed(&error))?;
        let input = self.model.find_node(input).ok_or(RuntimeError::NoNode(input))?;
        let options = RunOptions::default().with_thread_pool(Some(Arc::clone(&self.threads)));
        let inputs = vec![(input, ValueOrView::from(value))];
        // A file with an error may divide by zero, which panics in rten.
        let run = AssertUnwindSafe(|| self.model.run_n(inputs, self.outputs, Some(options)));
        let outputs = catch_unwind(run).map_err(|_| failed(&"an operator panicked"))?;
        let [logits, probabilities] = outputs.map_err(|error| failed(&error))?;
        let numbers = |value: Value| {
            value
                .into_shape_vec::<f32, 2>()
                .map(|(_, values)| values)
                .map_err(|error| failed(&error))
        };
        Ok(Answers { logits: numbers(logits)?, probabilities: numbers(probabilities)? })
    }
}
