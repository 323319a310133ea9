//! `regraft fetch`.

use crate::arguments::FetchArguments;
use crate::failure::Failure;
use crate::output;
use crate::progress::Bars;
use regraft::fetch::fetch;

pub fn run(arguments: &FetchArguments) -> Result<(), Failure> {
    let options = arguments.options()?;
    let mut bars = Bars::default();
    let outcome = fetch(&options, &mut |progress| bars.progress(progress));
    bars.clear();
    let fetched = outcome.map_err(Failure::of)?;
    fetched.notes.iter().for_each(|note| output::aside(format!("note: {note}")));
    if arguments.json {
        return output::json(&fetched);
    }
    let earlier = match fetched.resumed_bytes {
        0 => String::new(),
        bytes => format!(", {bytes} of them earlier"),
    };
    let (path, files) = (fetched.path.display(), if fetched.files == 1 { "file" } else { "files" });
    output::line(format!(
        "{path}: {} {files} ({} bytes fetched{earlier}), {} as it should be",
        fetched.files,
        fetched.bytes,
        options.checksum.kind()
    ))?;
    if fetched.path.is_dir() {
        output::line(format!("ready: regraft train {path}"))?;
    }
    Ok(())
}
