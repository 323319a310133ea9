//! `regraft audit`.

use crate::arguments::AuditArguments;
use crate::failure::Failure;
use crate::job;
use crate::output;
use crate::progress::Bars;
use regraft::atomic_file;
use regraft::audit::{audit, audit_document, audit_page, fix_list};
use std::sync::{Mutex, PoisonError};

pub fn run(arguments: &AuditArguments) -> Result<(), Failure> {
    let options = arguments.options()?;
    let bars = Mutex::new(Bars::default());
    let found = audit(&options, &|progress| {
        let mut bars = bars.lock().unwrap_or_else(PoisonError::into_inner);
        bars.progress(progress);
    });
    bars.into_inner().unwrap_or_else(PoisonError::into_inner).clear();
    let found = found.map_err(Failure::of)?;
    if !job::ranks().is_first() {
        return Ok(());
    }
    found.notes.iter().for_each(|note| output::aside(format!("note: {note}")));
    if let Some(path) = &arguments.html {
        let page = audit_page(&found, &arguments.data, &options.decode);
        atomic_file::write(path, page.html().as_bytes()).map_err(Failure::under_way)?;
        output::aside(format!("wrote {}", path.display()));
    }
    if let Some(path) = &arguments.fix_list {
        let list = fix_list(&found);
        atomic_file::write(path, list.csv.as_bytes()).map_err(Failure::under_way)?;
        for file in &list.unwritable {
            output::aside(format!(
                "note: {file:?} is not on the list, because its name is not UTF-8 or holds a line \
                 break; rename or remove it"
            ));
        }
        output::aside(format!(
            "wrote {}: regraft train {} --exclude {}",
            path.display(),
            arguments.data.display(),
            path.display()
        ));
    }
    if arguments.json {
        output::json(&found)?;
    } else {
        output::line(audit_document(&found, &arguments.data).terminal().trim_end())?;
    }
    let (leaks, conflicts) = (found.leakage.len(), found.label_conflicts.len());
    if arguments.strict && leaks + conflicts > 0 {
        return Err(Failure::under_way(anyhow::anyhow!(
            "the audit found leaks ({leaks}) and label conflicts ({conflicts})"
        )));
    }
    Ok(())
}
