//! Located reading for any typed file: the reader of manifests and of `rosterd.yaml` alike.
//!
//! ```
//! use rosterd::manifest::locate;
//! use rosterd::manifest::locate::Located;
//!
//! #[derive(serde::Deserialize)]
//! #[serde(rename_all = "camelCase", deny_unknown_fields)]
//! struct Settings {
//!     listen: Option<Located<String>>,
//! }
//!
//! let problems = locate::read("rosterd.yaml", b"lisen: 127.0.0.1:80\n", |_: Settings, _, _| Some(())).unwrap_err();
//! assert_eq!((problems[0].line, problems[0].hint.as_deref()), (1, Some("did you mean `listen`?")));
//! ```

use serde::Deserialize;

use crate::manifest::Problem;
use crate::manifest::build;
use crate::manifest::decode;
use crate::manifest::report::Report;
use crate::manifest::text::SourceText as Text;

pub use crate::manifest::endpoint::node;
pub use crate::manifest::located::Located;
pub use crate::manifest::text::Place;
pub use crate::manifest::tree::Key;
pub use crate::manifest::tree::Tree;
pub use crate::manifest::tree::Value;

/// Reads a file of one document as a `T` and lets `check` make what it is about of it.
///
/// `check` sees the tree as well, for parts that stay nodes, and notes what it finds in the
/// report. It is called for a broken document too as long as anything can be said about it, so
/// that all problems are told at once; what it makes is then thrown away.
///
/// # Errors
/// Every problem of the file.
pub fn read<T, U>(
    name: &str,
    bytes: &[u8],
    check: impl FnOnce(T, &Tree<'_>, &mut Report<'_>) -> Option<U>,
) -> Result<U, Vec<Problem>>
where
    T: for<'de> Deserialize<'de>,
{
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let source = Text { file: name.into(), text: String::from_utf8_lossy(bytes), lines_before: 0 };
    let mut report = Report::new(vec![&source]);
    if let std::borrow::Cow::Owned(_) = source.text {
        crate::manifest::file::not_utf_8(bytes, &source, &mut report);
        return Err(report.into_problems());
    }
    let made = build::read(&source.text, 0, &mut report).and_then(|tree| {
        let typed: T = decode::decode(&tree, &mut report)?;
        check(typed, &tree, &mut report)
    });
    match made {
        Some(made) if report.is_empty() => Ok(made),
        _ => {
            if report.is_empty() {
                let place = Place { line: 1, column: 1, ..Place::default() };
                report
                    .add(place, "blank-value", "nothing stands in this file")
                    .hint("write settings, or delete the file");
            }
            Err(report.into_problems())
        }
    }
}
