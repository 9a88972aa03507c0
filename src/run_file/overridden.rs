//! A run file in which some keys are overridden from the command line.

use std::path::Path;

use toml_edit::{DocumentMut, Item, Key, Table, Value};

/// Longest setting, characters: nobody types more.
const SETTING_CHARS_MAX: usize = 2_000;

/// The text of a run file, with what `--set` says in it.
pub(super) struct Overridden {
    /// What is run. Overridden keys have the setting as a comment.
    pub(super) text: String,
    /// Where it differs from the file, in order.
    edits: Vec<Edit>,
}

/// A key that was given another value, or was not there before.
struct Edit {
    setting: String,
    /// Line of the text it is in, counted from 1.
    line: usize,
    /// Lines that the text has more than the file because of it.
    lines_more: isize,
}

/// What is written as `[[NAME]]`, each with a `name`.
const ENTRIES: [&str; 2] = ["camera", "what_if"];

/// A key's place: names of tables, or numbers of entries, down to it.
type Place = Vec<String>;

/// An edit before all others are made, when its line is not known yet.
struct Made<'a> {
    setting: &'a str,
    place: Place,
    lines_more: isize,
}

impl Overridden {
    /// Overrides keys of the run file with `text`: each setting is `KEY=VALUE`, such as `rates.label_horizon=8h`, `camera.depth=8`
    /// of all cameras, or `camera.left.depth=8` of one. A value is TOML, or a word. Of two settings of a key the later holds.
    ///
    /// # Errors
    /// A setting cannot be read or names nothing that is there.
    pub(super) fn new(text: &str, settings: &[String]) -> Result<Self, String> {
        if settings.is_empty() {
            return Ok(Self {
                text: text.to_owned(),
                edits: Vec::new(),
            });
        }
        let mut document: DocumentMut = text
            .parse()
            .map_err(|error: toml_edit::TomlError| format!("`--set` needs a file that is TOML: {}", error.message()))?;
        let mut made = Vec::new();
        for setting in settings {
            let wrong = |reason: String| format!("cannot use `--set {setting}`: {reason}");
            let (path, value) = read(setting).map_err(wrong)?;
            override_in(document.as_table_mut(), &[], &path, &value, setting, &mut made).map_err(wrong)?;
        }
        Ok(Self::of(&document.to_string(), &made))
    }

    /// Finds the edits again, and says in comments what they are.
    fn of(marked: &str, made: &[Made<'_>]) -> Self {
        let mut edits = Vec::new();
        let lines = marked.lines().zip(1..).map(|(line, number)| {
            let Some((rest, made)) = line
                .rsplit_once(MARK)
                .and_then(|(rest, index)| Some((rest, made.get(index.parse::<usize>().ok()?)?)))
            else {
                return line.to_owned();
            };
            edits.push(Edit {
                setting: made.setting.to_owned(),
                line: number,
                lines_more: made.lines_more,
            });
            format!("{rest} # --set {}", made.setting)
        });
        let text = lines.map(|line| line + "\n").collect();
        Self { text, edits }
    }

    /// Where the byte `at` of the text comes from: the setting, or file and line.
    pub(super) fn origin(&self, path: &Path, at: usize) -> String {
        let line = 1 + self.text.bytes().take(at).filter(|byte| *byte == b'\n').count();
        if let Some(edit) = self.edits.iter().find(|edit| edit.line == line) {
            return format!("--set {}", edit.setting);
        }
        let earlier = self.edits.iter().take_while(|edit| edit.line < line);
        let lines_more: isize = earlier.map(|edit| edit.lines_more).sum();
        format!("{}:{}", path.display(), line.saturating_add_signed(-lines_more))
    }
}

/// Begins the comment of an edit, with its number, until all are made. No setting holds a control character.
const MARK: &str = " #\u{1}";

/// Key and value of a setting.
fn read(setting: &str) -> Result<(Vec<Key>, Value), String> {
    if setting.chars().nth(SETTING_CHARS_MAX).is_some() || setting.contains(char::is_control) {
        return Err(format!("it is a line of at most {SETTING_CHARS_MAX} characters"));
    }
    let (key, typed) = setting
        .split_once('=')
        .ok_or("it is KEY=VALUE, such as camera.left.depth=8")?;
    let path = Key::parse(key).map_err(|_| format!("\"{key}\" is no key, such as camera.left.depth"))?;
    // A word need not be quoted: a shell takes the quotes away.
    let value = typed
        .trim()
        .parse::<Value>()
        .unwrap_or_else(|_| Value::from(typed.trim()));
    Ok((path, value))
}

/// Gives the keys that `path` leads to from `table`, which is at `place`, the value.
fn override_in<'a>(
    table: &mut Table,
    place: &[String],
    path: &[Key],
    value: &Value,
    setting: &'a str,
    made: &mut Vec<Made<'a>>,
) -> Result<(), String> {
    let Some((key, rest)) = path.split_first() else {
        return Ok(());
    };
    let name = key.get();
    let place = [place, &[name.to_owned()]].concat();
    if rest.is_empty() {
        return assign(table, place, value, setting, made);
    }
    // `[server]` and `[rates]` need not be there.
    let absent = if ENTRIES.contains(&name) {
        Item::None
    } else {
        Item::Table(Table::new())
    };
    match table.entry(name).or_insert(absent) {
        Item::Table(below) => override_in(below, &place, rest, value, setting, made),
        Item::ArrayOfTables(entries) => {
            let (wanted, below) = if let [wanted, below @ ..] = rest
                && !below.is_empty()
            {
                (Some(wanted.get()), below)
            } else {
                (None, rest)
            };
            let mut found = false;
            for (number, entry) in entries.iter_mut().enumerate() {
                if wanted.is_none_or(|wanted| entry.get("name").and_then(Item::as_str) == Some(wanted)) {
                    found = true;
                    let place = [&place[..], &[number.to_string()]].concat();
                    override_in(entry, &place, below, value, setting, made)?;
                }
            }
            match wanted {
                Some(wanted) if !found => Err(format!("there is no `[[{name}]]` called \"{wanted}\"")),
                _ => Ok(()),
            }
        }
        Item::None => Err(format!("the file has no `[[{name}]]`")),
        Item::Value(_) => Err(format!("\"{name}\" is written as one value; give it all of it")),
    }
}

/// Gives the key at `place`, the last name of which is in `table`, the value.
fn assign<'a>(
    table: &mut Table,
    place: Place,
    value: &Value,
    setting: &'a str,
    made: &mut Vec<Made<'a>>,
) -> Result<(), String> {
    let name = place.last().map_or("", String::as_str);
    let lines_before = match table.get(name) {
        None => 0,
        Some(Item::Value(value)) => 1 + value.to_string().trim().matches('\n').count(),
        Some(_) => return Err(format!("\"{name}\" holds keys; name one of them")),
    };
    let before = made.iter().position(|made| made.place == place);
    let mut value = value.clone();
    value.decor_mut().set_prefix(" ");
    value
        .decor_mut()
        .set_suffix(format!("{MARK}{}", before.unwrap_or(made.len())));
    table.insert(name, Item::Value(value));
    match before {
        Some(before) => made[before].setting = setting,
        None => made.push(Made {
            setting,
            place,
            lines_more: 1 - lines_before as isize,
        }),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"# The line.
detector = "line.intakt"

[[camera]]
name = "left"
source = "directory"
depth = 4 # as measured

[[camera]]
name = "top.2"
source = "watch"

[[what_if]]
name = "stricter"
threshold = 0.4

[rates]
windows = [
    "1m",
    "15m",
]
shifts = ["06:00"]
"#;

    fn overridden(settings: &[&str]) -> Result<Overridden, String> {
        let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
        Overridden::new(FILE, &settings)
    }

    fn origin(file: &Overridden, of: &str) -> String {
        file.origin(
            Path::new("f"),
            file.text.find(of).unwrap_or_else(|| panic!("{of} in {}", file.text)),
        )
    }

    #[test]
    fn keys_of_one_camera_of_all_and_of_the_file_are_overridden() {
        let file = overridden(&[
            "camera.depth=8",
            "camera.\"top.2\".depth = 9",
            "what_if.stricter.threshold=0.3",
            "rates.windows=[\"2m\"]",
            "server.listen=127.0.0.1:0",
            "record=tapes/a b",
        ])
        .unwrap();
        let table: toml::Table = toml::from_str(&file.text).unwrap();
        let depth = |camera: usize| table["camera"][camera]["depth"].as_integer();
        assert_eq!([depth(0), depth(1)], [Some(8), Some(9)]);
        assert_eq!(table["what_if"][0]["threshold"].as_float(), Some(0.3));
        assert_eq!(table["rates"]["windows"].as_array().map(Vec::len), Some(1));
        assert_eq!(table["server"]["listen"].as_str(), Some("127.0.0.1:0"));
        assert_eq!(table["record"].as_str(), Some("tapes/a b"));
        assert!(
            file.text.contains("depth = 8 # --set camera.depth=8\n"),
            "{}",
            file.text
        );
    }

    #[test]
    fn what_is_wrong_is_found_in_the_file_or_in_the_setting() {
        assert_eq!(overridden(&[]).unwrap().text, FILE);
        let file = overridden(&[
            "record=tapes",
            "camera.left.depth=8",
            "camera.\"top.2\".depth=9",
            "rates.windows=[\"2m\"]",
            "rates.windows=[\"3m\"]",
        ])
        .unwrap();
        for (of, origin_is) in [
            ("detector =", "f:2"),
            ("record =", "--set record=tapes"),
            ("left", "f:5"),
            ("depth = 8", "--set camera.left.depth=8"),
            ("top.2", "f:10"),
            ("depth = 9", "--set camera.\"top.2\".depth=9"),
            ("stricter", "f:14"),
            ("[rates]", "f:17"),
            ("windows =", "--set rates.windows=[\"3m\"]"),
            ("shifts", "f:22"),
        ] {
            assert_eq!(origin(&file, of), origin_is, "{}", file.text);
        }
    }

    #[test]
    fn settings_that_mean_nothing_are_refused() {
        for (setting, said) in [
            ("depth", "it is KEY=VALUE"),
            ("camera..depth=8", "is no key"),
            ("=8", "is no key"),
            ("camera=8", "\"camera\" holds keys"),
            ("camera.right.depth=8", "no `[[camera]]` called \"right\""),
            ("detector.x=8", "\"detector\" is written as one value"),
            ("record=a\nb", "it is a line"),
        ] {
            let error = overridden(&[setting]).err().unwrap_or_else(|| panic!("{setting}"));
            assert!(error.contains(said) && error.contains("--set"), "{error}");
        }
        let error = Overridden::new("detector = 1", &["camera.depth=8".to_owned()])
            .err()
            .unwrap();
        assert!(error.contains("the file has no `[[camera]]`"), "{error}");
    }
}
