//! What an answer of a mail server means, and what of its words may be repeated.

use lettre::transport::smtp::Error;

use crate::model::message::Mail;
use crate::notifiers::smtp::dialogue::Failed;
use crate::notifiers::smtp::dialogue::Step;
use crate::notify::NotifyClass;
use crate::notify::NotifyError;

/// Most characters of a server's own words that are repeated.
const WORDS: usize = 200;
/// Words of a server that are as long as this and stand in the mail are blotted out.
const QUOTED: usize = 8;
/// Not this message was refused but we: sign-in is demanded, failed, or too weak (RFC 4954 section 6).
const SIGN_IN: [&str; 4] = ["530", "534", "535", "538"];

/// `content`: the mail as it was sent.
pub(super) fn judged(failed: &Failed, mail: &Mail, content: &[u8]) -> NotifyError {
    let (step, error) = match failed {
        Failed::Unfit(why) => return NotifyError::new(NotifyClass::Refused, *why),
        Failed::Unheard => return NotifyError::unsure(),
        Failed::Silent => {
            return NotifyError::new(NotifyClass::Door, "the mail server is silent; check `mail.smtp`");
        }
        Failed::At(step, error) => (*step, error),
    };
    let (class, what) = meaning(step, error);
    let content = String::from_utf8_lossy(content);
    let body = content.split_once("\r\n\r\n").map_or(&*content, |(_headers, body)| body);
    let sent = [&mail.text, mail.html.as_deref().unwrap_or_default(), &mail.subject, body];
    NotifyError::new(class, format!("{what}: {}", blotted(&in_words(error), &sent)))
}

/// Only what answers the recipient or the mail is about this mail; all else is about us, and is said of
/// every other mail too.
fn meaning(step: Step, error: &Error) -> (NotifyClass, &'static str) {
    let code = error.status().map(|code| code.to_string());
    let about_the_mail = matches!(step, Step::Recipient | Step::Content);
    match code.as_deref() {
        None | Some("421") => (NotifyClass::Door, "the mail server cannot be spoken to; check `mail.smtp`"),
        Some(code) if step == Step::Door || SIGN_IN.contains(&code) => {
            (NotifyClass::Door, "the mail server does not let us in; check `mail.smtp`, its `user` and `password`")
        }
        Some(_) if !about_the_mail => {
            (NotifyClass::Door, "the mail server takes no mails from the address in `mail.from`; check it")
        }
        Some(_) if error.is_permanent() => (NotifyClass::Refused, "the mail server refused the mail"),
        Some(_) => (NotifyClass::Later, "the mail server does not take the mail now"),
    }
}

/// An error and what it stems from.
fn in_words(error: &Error) -> String {
    use std::error::Error as _;
    let mut words = error.to_string();
    if let Some(source) = error.source() {
        let source = source.to_string();
        if !words.contains(&source) {
            words = format!("{words}: {source}");
        }
    }
    words
}

/// A server's words, without what it may have quoted of the mail, as that was written or as it was sent (L7).
fn blotted(words: &str, sent: &[&str]) -> String {
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    let words: String = unquoted(words).chars().map(plain).collect();
    let of_words = |letter: char| !(letter.is_ascii_alphanumeric() || "-._~".contains(letter));
    let said = |word: &&str| word.len() >= QUOTED && sent.iter().any(|text| text.contains(*word));
    let mut quoted: Vec<&str> = words.split(of_words).filter(said).collect();
    // What a longer word holds is gone with it.
    quoted.sort_by_key(|word| std::cmp::Reverse(word.len()));
    let blotted = quoted.iter().fold(words.clone(), |words, word| words.replace(word, "***"));
    blotted.chars().take(WORDS).collect()
}

/// Text without the escapes of quoted-printable (RFC 2045 section 6.7) for ASCII, by which a server may repeat
/// what it was sent.
fn unquoted(text: &str) -> String {
    let joined = text.replace("=\r\n", "").replace("=\n", "");
    let mut parts = joined.split('=');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok());
        if let (Some(code), Some(rest)) = (code.filter(u8::is_ascii_graphic), part.get(2..)) {
            plain.push(char::from(code));
            plain.push_str(rest);
        } else {
            plain.push('=');
            plain.push_str(part);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_quotes_of_a_mail_is_blotted_out() {
        let text = "Your password is hG7-kd.Qw~2m and the link is https://p.example/a?token=abcDEF123456";
        let blot = |words: &str| blotted(words, &[text]);
        assert_eq!(
            blot("permanent error (550): 5.1.1 no such mailbox"),
            "permanent error (550): 5.1.1 no such mailbox"
        );
        assert_eq!(blot("554 found \"hG7-kd.Qw~2m\" in it"), "554 found \"***\" in it");
        assert!(!blot("554 bad token=abcDEF123456\r\n").contains("abcDEF"));
        // As a mail is sent: escaped, and cut where a line is too long.
        assert!(!blot("554 bad token=3DabcDEF123456").contains("abcDEF"));
        assert!(!blot("554 found hG7-kd=2EQw=7E2m").contains("hG7"));
        assert!(!blot("554 bad token=3DabcDEF=\r\n123456").contains("abcDEF"));
        assert_eq!(blot("554 a=b, c=zz, d="), "554 a=b, c=zz, d=", "what is no escape stays");
    }

    #[test]
    fn what_stands_in_the_html_or_only_in_the_mail_as_it_was_sent_is_blotted_out_too() {
        let html = "<a href='https://p.example/only-in-html'>x</a>";
        assert!(!blotted("554 url only-in-html is listed", &["text", html]).contains("only-in"));
        let base64 = "UGFzc3dvcmQgaEc3LWtkLlF3fjJt";
        assert!(!blotted(&format!("554 found {base64}"), &["text", "", base64]).contains("UGFz"));
    }

    #[test]
    fn what_is_cut_off_is_blotted_out_before() {
        let secret = "abcDEFghiJKL";
        let words = format!("{}{secret}", " ".repeat(WORDS - 4));
        assert!(!blotted(&words, &[secret]).contains("abc"));
    }
}
