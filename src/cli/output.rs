//! Writing to the terminal: data on standard output, everything else on standard error.

use std::io;
use std::io::IsTerminal;
use std::io::Write;

use anstyle::AnsiColor;
use anstyle::Style;
use comfy_table::ContentArrangement;
use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::presets::NOTHING;
use serde::Serialize;

use crate::cli::args::Form;
use crate::cli::failure::Exit;
use crate::cli::failure::Failure;

/// For what is wrong.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// For what waits for somebody.
pub const WAITS: Style = AnsiColor::Yellow.on_default().bold();
/// For what is well.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// For what matters less.
pub const DIM: Style = Style::new().dimmed();
/// For headings.
pub const STRONG: Style = Style::new().bold();

/// `text` in `style`. Styles are taken out again where the stream is no terminal.
pub fn styled(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Text from elsewhere, without characters that a terminal would act upon.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Writes data. A reader that went away (`rosterd accounts crm | head`) is no error.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut stream = anstream::AutoStream::auto(io::stdout().lock());
    let written = stream
        .write_all(text.as_bytes())
        .and_then(|()| if text.ends_with('\n') || text.is_empty() { Ok(()) } else { stream.write_all(b"\n") });
    told_to(written.and_then(|()| stream.flush()))
}

/// The same for JSON: control characters are escaped in it, so there is nothing to take out.
fn print_json<T: Serialize>(data: &T) -> Result<(), Failure> {
    let mut stream = io::BufWriter::new(io::stdout().lock());
    let written = serde_json::to_writer_pretty(&mut stream, data).map_err(io::Error::from);
    told_to(written.and_then(|()| stream.write_all(b"\n")).and_then(|()| stream.flush()))
}

fn told_to(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Tells something beside the data.
pub fn note(text: &str) {
    let mut stream = anstream::AutoStream::auto(io::stderr().lock());
    // Nobody is left to tell where standard error is closed.
    drop(writeln!(stream, "{text}"));
}

/// Tells why a command failed, and what to do.
pub fn complain(failure: &Failure) {
    note(&format!("{} {}", styled(BAD, "error:"), failure.message));
    if let Some(hint) = &failure.hint {
        note(&format!("{} {hint}", styled(GOOD, "hint:")));
    }
}

/// Whether a person can answer a question.
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks a person; anything but `y` or `yes`, in whichever letters, is a no.
pub async fn ask(question: &str) -> bool {
    let asked = {
        let mut stream = anstream::AutoStream::auto(io::stderr().lock());
        write!(stream, "{question} [y/N] ").and_then(|()| stream.flush())
    };
    if asked.is_err() {
        return false;
    }
    let (says, said) = tokio::sync::oneshot::channel();
    // A thread of its own, which nobody waits for: who presses Ctrl-C instead of answering is heard.
    std::thread::spawn(move || {
        let mut answer = String::new();
        let read = io::stdin().read_line(&mut answer).is_ok();
        // Where nobody waits any more, whoever asked has gone.
        says.send(read && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")).unwrap_or_default();
    });
    said.await.unwrap_or(false)
}

/// One answer in the form that was asked for.
pub struct View<'a, T> {
    /// The answer itself: what `--output json` shows.
    pub data: &'a T,
    /// The answer for people.
    pub text: &'a dyn Fn() -> String,
    /// The answer for pull requests.
    pub markdown: &'a dyn Fn() -> String,
}

/// Writes an answer in the form that was asked for.
pub fn show<T: Serialize>(form: Form, view: &View<'_, T>) -> Result<(), Failure> {
    match form {
        Form::Text => print(&(view.text)()),
        Form::Markdown => print(&(view.markdown)()),
        Form::Json => print_json(view.data),
        Form::Github | Form::Gitlab | Form::Sarif => Err(unfit(form)),
    }
}

/// Tells in one sentence what came of a command; for programs, `data`.
pub fn told<T: Serialize>(form: Form, data: &T, sentence: &str) -> Result<(), Failure> {
    show(form, &View { data, text: &|| sentence.to_owned(), markdown: &|| sentence.to_owned() })
}

/// Refuses a form that only `validate` knows.
pub fn unfit(form: Form) -> Failure {
    Failure::new(format!("`--output {}` is for `validate` only", form_word(form)))
        .hint("use `--output text`, `json` or `markdown`")
}

fn form_word(form: Form) -> String {
    clap::ValueEnum::to_possible_value(&form).map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// Rows under a heading, for people and for pull requests.
pub struct Rows {
    header: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

impl Rows {
    /// No rows yet.
    pub fn new(header: &'static [&'static str]) -> Self {
        Self { header, rows: Vec::new() }
    }

    /// Adds a row, one cell for each heading.
    pub fn push(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Aligned columns without lines.
    pub fn text(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let mut table = Table::new();
        table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(self.header.iter().map(|word| word.to_uppercase()));
        table.add_rows(&self.rows);
        let lines: Vec<_> = table.lines().map(|line| line.trim_end().trim_start_matches(' ').to_owned()).collect();
        lines.join("\n") + "\n"
    }

    /// Aligned columns, or a sentence where there is no row.
    pub fn text_or(&self, empty: &str) -> String {
        if self.rows.is_empty() { format!("{empty}\n") } else { self.text() }
    }

    /// A table of `GitHub` flavoured markdown.
    pub fn markdown(&self) -> String {
        let mut table = Table::new();
        table.load_style(ASCII_MARKDOWN).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(self.header.iter().copied());
        table.add_rows(self.rows.iter().map(|row| row.iter().map(|cell| escape_markdown(cell))));
        format!("{table}\n")
    }
}

/// Text that stands for itself in a markdown table.
pub fn escape_markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '*' | '_' | '`' | '[' | ']' | '<' | '>' | '\\' | '~' | '@' | '#' => {
                escaped.push('\\');
                escaped.push(c);
            }
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Done, or held where something is.
pub fn done_or_held(held: bool) -> Exit {
    if held { Exit::Held } else { Exit::Done }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_elsewhere_cannot_move_the_cursor() {
        assert_eq!(plain("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }

    #[test]
    fn a_table_has_no_lines_in_text_and_escapes_what_markdown_would_read() {
        let mut rows = Rows::new(&["user", "state"]);
        rows.push(vec!["a|b".to_owned(), "*new*".to_owned()]);
        assert_eq!(rows.text(), "USER  STATE\na|b   *new*\n");
        assert!(rows.markdown().contains("a\\|b"), "{}", rows.markdown());
    }
}
