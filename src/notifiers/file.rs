//! Messages as files in a folder, for trying out.
//!
//! # Caveats
//! - A generated password is refused: a file is a readable store (L7).

use std::fs;
use std::io;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;

use async_trait::async_trait;
use tokio::task::spawn_blocking;

use crate::model::message::Content;
use crate::model::message::Mail;
use crate::model::message::Posted;
use crate::notify::Notifier;
use crate::notify::NotifyClass;
use crate::notify::NotifyError;

/// A folder of messages: one file each, named by its id, so that a repetition writes the same one.
pub struct FileNotifier {
    folder: PathBuf,
}

impl FileNotifier {
    /// Files in `folder`, which is made where it is missing.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }
}

#[async_trait]
impl Notifier for FileNotifier {
    fn takes_passwords(&self) -> bool {
        false
    }

    async fn deliver(&self, message: &Posted) -> Result<(), NotifyError> {
        let (name, text) = match &message.content {
            Some(Content::Mail(mail)) if mail.holds_password => {
                let words = "a generated password is not written to a file; set `mail.smtp` in rosterd.yaml";
                return Err(NotifyError::new(NotifyClass::Refused, words));
            }
            Some(Content::Mail(mail)) => (format!("{}.eml", message.id), shown(message, mail)),
            Some(Content::Event(event)) => (
                format!("{}.json", message.id),
                serde_json::json!({ "type": event.kind, "data": event.data }).to_string(),
            ),
            None => return Ok(()),
        };
        let folder = self.folder.clone();
        let written = spawn_blocking(move || write(&folder, &name, &text)).await;
        let failed = |error: String| {
            let folder = self.folder.display();
            NotifyError::new(NotifyClass::Door, format!("`{folder}` cannot be written: {error}; let rosterd write it"))
        };
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(error) => Err(failed(error.to_string())),
        }
    }
}

/// A mail as a mail program opens it.
fn shown(message: &Posted, mail: &Mail) -> String {
    let Mail { to, subject, text, html: _, holds_password: _ } = mail;
    let (id, date) = (&message.id, message.at.to_rfc2822());
    format!(
        "To: {to}\nSubject: {subject}\nDate: {date}\nMessage-ID: <{id}@rosterd.invalid>\nContent-Type: text/plain; \
         charset=utf-8\n\n{text}\n"
    )
}

/// Written beside and moved into place: a reader sees the whole of it or nothing.
fn write(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let fresh = folder.join(format!(".{name}"));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut file = options.open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, folder.join(name))
}
