//! "Did you mean ...?"

/// The nearest of `known`, if it is near enough to be meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str, IntoIter: Clone>) -> Option<&'a str> {
    let known = known.into_iter();
    let most = match word.chars().count() {
        0..=2 => 1,
        3..=7 => 2,
        _ => 3,
    };
    let candidates = known.clone().filter(|other| other.len().abs_diff(word.len()) <= 4 * most);
    let ranked = candidates.map(|other| (distance(word, other, most + 1), other));
    let near = ranked.filter(|(distance, _)| *distance <= most).min().map(|(_, other)| other);
    near.or_else(|| beginning(word, known))
}

/// The only word that `word` begins.
fn beginning<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut longer = known.filter(|other| word.len() >= 3 && other.starts_with(word));
    longer.next().filter(|_| longer.next().is_none())
}

/// A hint that names the nearest of `known`, or a few of them.
pub fn one_of<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => list(&known),
    }
}

/// How many words a hint lists before it stops.
const MOST_LISTED: usize = 20;

fn list(known: &[&str]) -> String {
    let quoted: Vec<String> = known.iter().take(MOST_LISTED).map(|word| format!("`{word}`")).collect();
    match (known.len(), quoted.as_slice()) {
        (0, _) => "nothing is known here".to_owned(),
        (1, _) => format!("the only one is {}", quoted.join("")),
        (all, _) if all > MOST_LISTED => format!("one of {} and {} more", quoted.join(", "), all - MOST_LISTED),
        (_, [most @ .., last]) => format!("one of {} and {last}", most.join(", ")),
        (_, []) => String::new(),
    }
}

/// Edit distance with neighbours swapped as one edit; letters that differ only in case are free.
/// Stops counting at `stop`.
pub(crate) fn distance(left: &str, right: &str, stop: usize) -> usize {
    let fold = |text: &str| text.chars().take(64).map(|c| c.to_ascii_lowercase()).collect::<Vec<_>>();
    let (left, right) = (fold(left), fold(right));
    if left.len().abs_diff(right.len()) >= stop {
        return stop;
    }
    let cell = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(stop);
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let replaced = cell(&above, j) + usize::from(a != b);
            let mut best = replaced.min(cell(&above, j + 1) + 1).min(cell(&row, j) + 1);
            let swapped = i > 0 && j > 0 && left.get(i - 1) == Some(b) && right.get(j - 1) == Some(a);
            if swapped {
                best = best.min(cell(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    cell(&above, right.len()).min(stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_offered_and_far_ones_are_not() {
        assert_eq!(nearest("givename", ["familyName", "givenName", "email"]), Some("givenName"));
        assert_eq!(nearest("emial", ["email", "labels"]), Some("email"));
        assert_eq!(nearest("Europe/Pariss", ["Europe/Paris", "Europe/Sarajevo"]), Some("Europe/Paris"));
        assert_eq!(nearest("colour", ["givenName", "roles"]), None);
    }

    #[test]
    fn without_a_near_word_the_known_ones_are_listed() {
        assert_eq!(one_of("colour", ["sso", "password"]), "one of `sso` and `password`");
    }
}
