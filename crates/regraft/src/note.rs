//! Notes to the user of a run or a command.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A sentence for the user, and its subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct Note {
    /// Its subject.
    pub kind: NoteKind,
    /// The sentence.
    pub text: String,
}

/// The subject of a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoteKind {
    /// The images: how they were split, and which were ignored or are truncated.
    Data,
    /// The source model and its preprocessing.
    Source,
    /// How the head was fitted, or the rows that it starts from.
    Head,
    /// The temperature that calibrates the model.
    Temperature,
    /// The depth and the length of the training.
    Plan,
    /// The learning rate that was measured.
    LearningRate,
    /// Where a run resumes, and how it differs from before.
    Resume,
    /// The training diverged and went back.
    Divergence,
    /// The run ended before its last epoch.
    EarlyEnd,
    /// The model is likely of no use.
    Warning,
    /// Anything else, such as the notes in a checkpoint of version 0.1.0, which are plain text.
    Other,
}

impl Note {
    /// A note of a kind.
    pub fn new(kind: NoteKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(formatter)
    }
}

/// The forms in which checkpoints hold a note.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    Text(String),
    Typed { kind: NoteKind, text: String },
}

impl From<Stored> for Note {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Text(text) => Self { kind: NoteKind::Other, text },
            Stored::Typed { kind, text } => Self { kind, text },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_read_as_a_note() {
        let notes: Vec<Note> =
            serde_json::from_str(r#"["old", {"kind": "plan", "text": "new"}]"#).expect("notes");
        assert_eq!(notes, [Note::new(NoteKind::Other, "old"), Note::new(NoteKind::Plan, "new")]);
        let text = serde_json::to_string(&notes[1]).expect("JSON");
        assert_eq!(serde_json::from_str::<Note>(&text).expect("a note"), notes[1]);
    }
}
