//! Problems of manifests in the forms that people and pipelines read.

use serde::Serialize;
use serde_json::Value;
use serde_json::json;

/// One thing that is wrong, as `validate` tells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The file, from where the command was run.
    pub file: String,
    /// One-based line; zero where the place is the whole file.
    pub line: u32,
    /// One-based column; zero where the place is the whole line.
    pub column: u32,
    /// A stable word.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
    /// Rendered for a terminal, where the reader of documents did so.
    #[serde(skip)]
    pub rendered: Option<String>,
}

impl Finding {
    fn sentence(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{}\nhint: {hint}", self.message),
            None => self.message.clone(),
        }
    }
}

/// For terminals: the marked place where there is one.
pub fn text(findings: &[Finding]) -> String {
    let one = |finding: &Finding| {
        if let Some(rendered) = &finding.rendered {
            return format!("{}\n\n", rendered.trim_end());
        }
        let Finding { file, line, code, .. } = finding;
        format!("{file}:{line}: {} [{code}]\n\n", finding.sentence())
    };
    findings.iter().map(one).collect()
}

/// Workflow commands of GitHub Actions, one a line.
pub fn github(findings: &[Finding]) -> String {
    let one = |finding: &Finding| {
        let line = finding.line.max(1);
        let column = if finding.column == 0 { String::new() } else { format!(",col={}", finding.column) };
        let file = property(&finding.file);
        let code = property(&finding.code);
        format!("::error file={file},line={line}{column},title={code}::{}\n", message(&finding.sentence()))
    };
    findings.iter().map(one).collect()
}

/// The data of a workflow command may not hold line ends.
fn message(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}

/// A code quality report of GitLab.
pub fn gitlab(findings: &[Finding]) -> Value {
    let one = |finding: &Finding| {
        let Finding { file, line, column, code, .. } = finding;
        json!({
            "description": finding.sentence(),
            "check_name": code,
            "fingerprint": format!("{file}:{line}:{column}:{code}"),
            "severity": "blocker",
            "location": { "path": file, "lines": { "begin": line.max(&1) } },
        })
    };
    findings.iter().map(one).collect()
}

/// A log of SARIF 2.1.0.
pub fn sarif(findings: &[Finding]) -> Value {
    let mut rules: Vec<_> = findings.iter().map(|finding| finding.code.as_str()).collect();
    rules.sort_unstable();
    rules.dedup();
    let rules: Vec<_> = rules.into_iter().map(|code| json!({ "id": code })).collect();
    let results: Vec<_> = findings.iter().map(sarif_result).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "rosterd", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "results": results,
        }],
    })
}

fn sarif_result(finding: &Finding) -> Value {
    let line = finding.line.max(1);
    let region = match finding.column {
        0 => json!({ "startLine": line }),
        column => json!({ "startLine": line, "startColumn": column }),
    };
    json!({
        "ruleId": finding.code,
        "level": "error",
        "message": { "text": finding.sentence() },
        "locations": [{
            "physicalLocation": { "artifactLocation": { "uri": finding.file }, "region": region },
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding() -> Finding {
        Finding {
            file: "m/users.yaml".to_owned(),
            line: 7,
            column: 3,
            code: "unknown-field".to_owned(),
            message: "unknown field `givename`, 100%".to_owned(),
            hint: Some("did you mean `givenName`?".to_owned()),
            rendered: None,
        }
    }

    #[test]
    fn an_annotation_of_github_is_one_line_whatever_the_message_holds() {
        let expected = "::error file=m/users.yaml,line=7,col=3,title=unknown-field::unknown field `givename`, \
                        100%25%0Ahint: did you mean `givenName`?\n";
        assert_eq!(github(&[finding()]), expected);
    }

    #[test]
    fn a_sarif_log_names_each_rule_once_and_each_place() {
        let log = sarif(&[finding(), finding()]);
        let run = &log["runs"][0];
        assert_eq!(run["tool"]["driver"]["rules"], json!([{ "id": "unknown-field" }]));
        let region = &run["results"][1]["locations"][0]["physicalLocation"]["region"];
        assert_eq!(region, &json!({ "startLine": 7, "startColumn": 3 }));
    }

    #[test]
    fn a_problem_of_a_whole_file_is_put_on_its_first_line() {
        let whole = Finding { line: 0, column: 0, ..finding() };
        assert_eq!(gitlab(&[whole])[0]["location"]["lines"]["begin"], 1);
    }
}
