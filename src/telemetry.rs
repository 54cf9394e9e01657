//! Logs: one subscriber for the process, text for people or JSON lines for collectors, on stderr.

use std::io;
use std::io::IsTerminal;

use tracing::Level;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::FilterExt;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Filter;
use tracing_subscriber::layer::SubscriberExt;

/// What is logged where nobody asked for more or less.
pub const DEFAULT_FILTER: &str = "info";

/// Crates that see requests whole. Below `info` they may print what is sent, tokens included, so
/// no filter brings them there.
const WIRE: [&str; 5] = ["h2", "hyper", "hyper_util", "reqwest", "rustls"];

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line: `timestamp`, `level`, `target`, `message`, the event's own fields
    /// beside them, and the spans it happened in under `spans`.
    Json,
}

/// Why logging could not be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be read.
    #[error("the log filter `{filter}` cannot be read: {reason}; write a level (`info`) or `module=level` pairs")]
    Filter {
        /// As it was given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Somebody set a subscriber before.
    #[error("logging is set up already")]
    Twice,
}

/// Sets the subscriber of the process. Colours are used on a terminal only, and never with
/// `plain`.
///
/// # Errors
/// [`TelemetryError::Filter`] for a filter that cannot be read.
pub fn init(format: LogFormat, filter: &str, plain: bool) -> Result<(), TelemetryError> {
    let color = !plain && io::stderr().is_terminal();
    let subscriber = subscriber(format, filter, color, io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| TelemetryError::Twice)?;
    Ok(())
}

fn subscriber<W>(
    format: LogFormat,
    filter: &str,
    color: bool,
    writer: W,
) -> Result<impl Subscriber + Send + Sync, TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = fmt::layer().with_writer(writer);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => Box::new(lines.with_ansi(color).with_target(false)),
        LogFormat::Json => Box::new(lines.json().flatten_event(true).with_current_span(false).with_span_list(true)),
    };
    Ok(Registry::default().with(lines.with_filter(parsed(filter)?)))
}

fn parsed(filter: &str) -> Result<impl Filter<Registry> + Send + Sync + 'static, TelemetryError> {
    let error = |reason: ParseError| TelemetryError::Filter { filter: filter.to_owned(), reason: reason.to_string() };
    let asked = EnvFilter::builder().parse(filter).map_err(error)?;
    Ok(asked.and(filter_fn(|event| *event.level() <= Level::INFO || !of_wire(event.target()))))
}

fn of_wire(target: &str) -> bool {
    target.split("::").next().is_some_and(|name| WIRE.contains(&name))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("lock").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What `events` print under this filter.
    fn printed(format: LogFormat, filter: &str, events: impl FnOnce()) -> String {
        let lines = Lines::default();
        let to = lines.clone();
        let subscriber = subscriber(format, filter, false, move || to.clone()).expect("a filter");
        tracing::subscriber::with_default(subscriber, events);
        String::from_utf8(lines.0.lock().expect("lock").clone()).expect("text")
    }

    #[test]
    fn a_json_line_carries_the_fields_of_its_event_and_of_its_spans() {
        let text = printed(LogFormat::Json, "info", || {
            let _cycle = tracing::info_span!("cycle", cycle = "c-1").entered();
            tracing::info!(record = "u-1", "change confirmed");
        });
        let line: serde_json::Value = serde_json::from_str(&text).expect("one object");
        assert_eq!(line["message"], "change confirmed");
        assert_eq!(line["record"], "u-1");
        assert_eq!(line["spans"][0]["cycle"], "c-1");
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn a_text_line_off_a_terminal_has_no_colours() {
        let text = printed(LogFormat::Text, "info", || tracing::warn!(record = "u-1", "change refused"));
        assert!(text.contains("WARN change refused record=\"u-1\""), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn no_filter_makes_the_wire_speak() {
        for filter in ["trace", "hyper=trace", "trace,hyper::proto=trace"] {
            let text = printed(LogFormat::Text, filter, || {
                tracing::debug!(target: "hyper::proto", "authorization: Bearer abc");
            });
            assert_eq!(text, "", "{filter}");
        }
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_named() {
        let error = subscriber(LogFormat::Text, "rosterd=loud", false, io::sink).err().expect("an error");
        assert!(error.to_string().starts_with("the log filter `rosterd=loud` cannot be read"), "{error}");
    }
}
