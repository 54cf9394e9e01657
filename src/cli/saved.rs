//! A saved plan: the canonical JSON that `plan --out` writes and `apply FILE` derives again.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;
use serde_json::json;

use crate::cli::failure::Failure;
use crate::model::plan::Plan;
use crate::plan::render::canonical_json;
use crate::server::wire::PlanReply;

/// Grows when a saved plan of an older version could be misread.
const VERSION: u32 = 1;

/// What stands in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// [`VERSION`] of the program that wrote it.
    pub version: u32,
    /// The folder it was planned from, as it was given.
    pub folder: Option<PathBuf>,
    /// One plan a target.
    pub plans: Vec<Plan>,
}

/// The bytes of a saved plan: equal plans give equal bytes, and sensitive values are masked.
pub fn canonical(reply: &PlanReply, folder: Option<&Path>) -> Result<String, Failure> {
    let plans: Vec<Value> =
        reply.plans.iter().map(|plan| serde_json::from_str(&canonical_json(plan))).collect::<Result<_, _>>()?;
    let folder = folder.map(|folder| folder.to_string_lossy());
    Ok(json!({ "errors": reply.errors, "folder": folder, "plans": plans, "version": VERSION }).to_string())
}

/// Writes a saved plan; whether another one stood there. What is no saved plan stays as it is.
pub fn write(path: &Path, text: &str) -> Result<bool, Failure> {
    let shown = path.display();
    // Not from a pipe, which has no end as long as somebody may write to it.
    let before = path.is_file().then(|| fs::read(path).ok()).flatten();
    let is_plan = |bytes: &Vec<u8>| std::str::from_utf8(bytes).is_ok_and(|text| parse(text).is_ok());
    if before.as_ref().is_some_and(|bytes| !bytes.is_empty() && !is_plan(bytes)) {
        return Err(Failure::new(format!("`{shown}` is there and is no saved plan; it was not overwritten"))
            .hint("give another path, or move that file away"));
    }
    fs::write(path, text).map_err(|error| {
        Failure::new(format!("the plan cannot be saved as `{shown}`: {error}"))
            .hint("give a path in a folder that exists and that you may write to")
    })?;
    Ok(before.is_some_and(|bytes| bytes != text.as_bytes() && !bytes.is_empty()))
}

/// Reads a saved plan.
pub fn read(path: &Path) -> Result<Saved, Failure> {
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::new(format!("the saved plan `{shown}` cannot be read: {error}"))
            .hint("`rosterd plan -f DIR --out FILE` makes one; `rosterd apply -f DIR` needs none")
    })?;
    parse(&text).map_err(|why| {
        Failure::new(format!("`{shown}` is not a saved plan: {why}"))
            .hint("make it with `rosterd plan -f DIR --out FILE`; to apply a folder write `rosterd apply -f DIR`")
    })
}

/// The text of a saved plan.
///
/// # Errors
/// Why it is none.
pub fn parse(text: &str) -> Result<Saved, String> {
    let saved: Saved = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if saved.version != VERSION {
        return Err(format!("it is of version {}, and this program reads version {VERSION}", saved.version));
    }
    Ok(saved)
}
