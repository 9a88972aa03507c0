//! The hosts file: where the processes of a run are.

use std::collections::BTreeMap;
use std::path::Path;

use crate::PipelineError;

/// Most processes of a run: each is connected to every other one.
pub const PROCESSES_MAX: usize = 64;

/// Largest hosts file that is read, bytes: as many of the longest names take a quarter of it.
const FILE_BYTES_MAX: u64 = 1 << 16;

/// Where the processes of a run listen for each other, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts(Vec<String>);

impl Hosts {
    /// Reads a hosts file: a line `host:port` per process, in their order. Empty lines and lines that start with `#` are none.
    ///
    /// # Errors
    /// The file cannot be read, or holds something else; then with its line.
    pub fn load(path: &Path) -> Result<Self, PipelineError> {
        let bytes = std::fs::metadata(path).map_err(PipelineError::read(path))?.len();
        let refused = |what: &str| {
            PipelineError::Refused(format!(
                "cannot use hosts file \"{}\": {what}\n  hint: it has a line `host:port` for every process, in their order",
                path.display()
            ))
        };
        if bytes > FILE_BYTES_MAX {
            return Err(refused(&format!("it has {bytes} bytes, more than {FILE_BYTES_MAX}")));
        }
        let bytes = std::fs::read(path).map_err(PipelineError::read(path))?;
        let text = String::from_utf8(bytes).map_err(|_| refused("it is no text"))?;
        Self::parse(&text).map_err(|what| refused(&what))
    }

    /// Reads the lines of a hosts file.
    ///
    /// # Errors
    /// What is wrong, with its line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines = BTreeMap::new();
        let mut hosts = Vec::new();
        for (line, host) in (1..).zip(text.lines().map(str::trim)) {
            if host.is_empty() || host.starts_with('#') {
                continue;
            }
            check(host).map_err(|what| format!("line {line}: \"{}\" {what}", shown(host)))?;
            if let Some(first) = lines.insert(host, line) {
                return Err(format!(
                    "lines {first} and {line} are the same, and every process needs its own"
                ));
            }
            hosts.push(host.to_owned());
        }
        match hosts.len() {
            1..=PROCESSES_MAX => Ok(Self(hosts)),
            found => Err(format!(
                "there are {found} hosts in it, and 1 to {PROCESSES_MAX} are possible"
            )),
        }
    }

    /// How many processes there are.
    pub fn processes(&self) -> usize {
        self.0.len()
    }

    /// Where a process listens.
    pub fn of(&self, process: usize) -> &str {
        self.0.get(process).map_or("nowhere", String::as_str)
    }
}

fn check(host: &str) -> Result<(), &'static str> {
    let (name, port) = host.rsplit_once(':').ok_or("has no port")?;
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    if name.is_empty() || name.len() > 253 || name.contains(|c: char| c.is_whitespace() || c == '/' || c.is_control()) {
        return Err("has no host name before its port");
    }
    if bare == name && name.contains(':') {
        return Err("is an IPv6 address without brackets");
    }
    match port.parse::<u16>() {
        Ok(1..) => Ok(()),
        _ => Err("has a port that is not within 1 and 65535"),
    }
}

/// A line of a file that somebody wrote, short enough to show.
fn shown(line: &str) -> String {
    line.chars().take(60).collect::<String>().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_process() {
        let hosts = Hosts::parse("# the line\nleft.plant:2101\n\n 10.0.0.2:2102 \n[::1]:7\n").unwrap();
        assert_eq!(hosts.processes(), 3);
        assert_eq!(
            (hosts.of(1), hosts.of(2), hosts.of(3)),
            ("10.0.0.2:2102", "[::1]:7", "nowhere")
        );
    }

    #[test]
    fn rubbish_is_refused_with_its_line() {
        for (text, said) in [
            ("", "0 hosts"),
            ("a:1\nb", "line 2: \"b\" has no port"),
            ("a:0", "line 1: \"a:0\" has a port"),
            ("a:70000", "has a port"),
            (":80", "no host name"),
            ("a b:80", "no host name"),
            ("http://a:80", "no host name"),
            ("::1:80", "without brackets"),
            ("a:1\nb:1\na:1", "lines 1 and 3"),
            ("a\u{7}\u{1b}[2J:80", "\\u{7}"),
        ] {
            let refused = Hosts::parse(text).unwrap_err();
            assert!(refused.contains(said), "{text:?}: {refused}");
        }
        let many: String = (0..=PROCESSES_MAX).map(|port| format!("a:{}\n", port + 1)).collect();
        assert!(Hosts::parse(&many).unwrap_err().contains("65 hosts"));
    }
}
