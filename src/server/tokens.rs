//! Who may ask for what: tokens, each with a role.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// Bytes of a token: fewer can be guessed, more are no token.
pub(super) const TOKEN_BYTES: std::ops::RangeInclusive<usize> = 16..=1024;

/// Most tokens of a server: as many people as stand at a line.
const TOKENS_MAX: u32 = 100;

/// Largest file of tokens that is read, bytes.
const FILE_BYTES_MAX: u64 = 128 << 10;

/// Longest name that a line gives to whoever shows its token, bytes.
const NAME_BYTES_MAX: usize = 100;

/// What somebody may do; each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Reads.
    Viewer,
    /// Also posts frames, and says what they are.
    Inspector,
    /// Also changes how frames are judged, and reads who did.
    Admin,
}

/// Somebody who was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) role: Role,
    /// What the token's line calls them.
    pub(super) name: Arc<str>,
    /// Which of the tokens it is; of a server without tokens there is one caller.
    pub(super) number: usize,
}

/// The secrets of a server. Every request carries one but those for `/health` and the page, which says nothing of the run.
pub(crate) struct Tokens(Vec<Token>);

struct Token {
    secret: String,
    /// What stands for it in a browser's cookie: its characters fit there, and the token does not follow from it.
    session: String,
    caller: Caller,
}

impl Role {
    const ALL: [Self; 3] = [Self::Viewer, Self::Inspector, Self::Admin];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Inspector => "inspector",
            Self::Admin => "admin",
        }
    }
}

impl Caller {
    /// Whoever asks a server without a token: a program on the same machine.
    pub(super) fn local() -> Self {
        Self {
            role: Role::Admin,
            name: "local".into(),
            number: 0,
        }
    }
}

impl Tokens {
    /// The tokens in a file: one alone, which may do everything, or a line `role token` for each, with a name behind it if that is
    /// wanted. What begins with `#` is passed over.
    ///
    /// # Errors
    /// A sentence that does not show what is in the file.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let cannot = |what: &str| format!("cannot take a token from \"{}\": {what}", path.display());
        let bytes = std::fs::metadata(path)
            .map_err(|error| cannot(&error.to_string()))?
            .len();
        if bytes > FILE_BYTES_MAX {
            return Err(cannot(&format!("it has {bytes} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| cannot(&error.to_string()))?;
        Self::parse(&text).map_err(|what| cannot(&what))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let lines = (1_u32..).zip(text.lines().map(str::trim));
        let lines: Vec<(u32, &str)> = lines
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .collect();
        let mut tokens = match lines[..] {
            [(_, alone)] if !alone.contains(char::is_whitespace) => vec![Token::new(alone, Role::Admin, "admin")?],
            _ => lines
                .iter()
                .map(|(number, line)| Token::of_line(line).map_err(|what| format!("line {number}: {what}")))
                .collect::<Result<_, _>>()?,
        };
        for (number, token) in tokens.iter_mut().enumerate() {
            token.caller.number = number;
        }
        let secrets: BTreeSet<&str> = tokens.iter().map(|token| token.secret.as_str()).collect();
        if secrets.len() < tokens.len() {
            return Err("two lines have the same token".to_owned());
        }
        match tokens.len() {
            0 => Err(TOKEN.to_owned()),
            many if many > TOKENS_MAX as usize => {
                Err(format!("it has {many} tokens, and at most {TOKENS_MAX} are taken"))
            }
            _ => Ok(Self(tokens)),
        }
    }

    /// What a request shows in `Authorization`: the first token.
    pub(crate) fn authorization(&self) -> String {
        let first = self.0.first();
        format!("Bearer {}", first.map_or("", |token| &token.secret))
    }

    /// Whose token `offered` is.
    pub(super) fn caller(&self, offered: &[u8]) -> Option<&Caller> {
        self.found(offered, |token| &token.secret).map(|token| &token.caller)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Whose token `offered` stands for.
    pub(super) fn caller_of_session(&self, offered: &[u8]) -> Option<&Caller> {
        self.found(offered, |token| &token.session).map(|token| &token.caller)
    }

    /// What stands for the token `offered` in a browser's cookie.
    pub(super) fn session(&self, offered: &[u8]) -> Option<&str> {
        self.found(offered, |token| &token.secret)
            .map(|token| token.session.as_str())
    }

    /// How long it takes to find one says nothing of what is in it, nor which it is.
    fn found(&self, offered: &[u8], of: fn(&Token) -> &String) -> Option<&Token> {
        let (mut place, mut is_found) = (0_u32, Choice::from(0));
        for (number, token) in (0_u32..).zip(&self.0) {
            let is_it = of(token).as_bytes().ct_eq(offered);
            place.conditional_assign(&number, is_it);
            is_found |= is_it;
        }
        bool::from(is_found).then(|| &self.0[place as usize])
    }
}

const TOKEN: &str = "a token has 16 to 1024 printable characters without spaces, as `openssl rand -hex 32` makes them";

impl Token {
    /// `role token`, and perhaps a name.
    fn of_line(line: &str) -> Result<Self, String> {
        let form = "a line is `role token`, or `role token name`; a role is viewer, inspector or admin";
        let (role, rest) = line.split_once(char::is_whitespace).ok_or(form)?;
        let role = Role::ALL.into_iter().find(|known| known.name() == role).ok_or(form)?;
        let rest = rest.trim_start();
        let (token, name) = rest.split_once(char::is_whitespace).unwrap_or((rest, role.name()));
        let name = name.trim();
        if name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(format!(
                "a name has at most {NAME_BYTES_MAX} bytes, and no control characters"
            ));
        }
        Self::new(token, role, name)
    }

    fn new(secret: &str, role: Role, name: &str) -> Result<Self, String> {
        if !TOKEN_BYTES.contains(&secret.len()) || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TOKEN.to_owned());
        }
        let digest = Sha256::new()
            .chain_update("intakt session ")
            .chain_update(secret)
            .finalize();
        Ok(Self {
            secret: secret.to_owned(),
            session: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            caller: Caller {
                role,
                name: name.into(),
                number: 0,
            },
        })
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokens({})", self.0.len())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::server) const SECRET: &str = "0123456789abcdef";

    /// One token, for everything.
    pub(in crate::server) fn token() -> Tokens {
        Tokens::parse(SECRET).unwrap()
    }

    /// A token per role, which is the role's name twice and a bit.
    pub(in crate::server) fn tokens() -> Tokens {
        let lines = Role::ALL.map(|role| format!("{} {} {role:?} of the shift", role.name(), secret(role)));
        Tokens::parse(&lines.join("\n")).unwrap()
    }

    pub(in crate::server) fn secret(role: Role) -> String {
        format!("{0}-{0}-0123456789", role.name())
    }

    #[test]
    fn a_token_is_itself_alone_and_shows_nowhere() {
        assert_eq!(token().caller(SECRET.as_bytes()).unwrap().role, Role::Admin);
        for other in ["", "0123456789abcde", "0123456789abcdef0", "0123456789abcdeF"] {
            assert_eq!(token().caller(other.as_bytes()), None, "{other}");
        }
        assert!(!format!("{:?}", token()).contains(SECRET));
        let session = token().session(SECRET.as_bytes()).unwrap().to_owned();
        assert!(!session.contains(SECRET));
        assert!(token().caller_of_session(session.as_bytes()).is_some());
        assert_eq!(token().caller(session.as_bytes()), None, "a cookie is no token");
        assert_eq!(token().caller_of_session(SECRET.as_bytes()), None);
    }

    #[test]
    fn each_line_has_its_role_and_its_name() {
        let tokens = tokens();
        for role in Role::ALL {
            let caller = tokens.caller(secret(role).as_bytes()).unwrap();
            assert_eq!((caller.role, &*caller.name), (role, &*format!("{role:?} of the shift")));
        }
        let unnamed = Tokens::parse("# who looks\n\n viewer  0123456789abcdef \n").unwrap();
        assert_eq!(&*unnamed.caller(SECRET.as_bytes()).unwrap().name, "viewer");
    }

    #[test]
    fn what_a_token_file_may_hold() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let long = format!("viewer 0123456789abcdef {}", "x".repeat(101));
        let many: String = (0..101).map(|n| format!("viewer 0123456789abcdef{n}\n")).collect();
        for (text, fine) in [
            ("0123456789abcdef\n", true),
            ("# mine\n0123456789abcdef\n", true),
            ("admin 0123456789abcdef", true),
            (
                "admin 0123456789abcdef\ninspector 0123456789abcdeg Ana of shift 2",
                true,
            ),
            ("", false),
            ("short", false),
            ("0123456789 abcdef", false),
            ("owner 0123456789abcdef", false),
            ("admin 0123456", false),
            ("admin", false),
            ("0123456789abcdef\n0123456789abcdef", false),
            ("0123456789abcdef\nadmin 0123456789abcdeg", false),
            ("admin 0123456789abcdef\nviewer 0123456789abcdef", false),
            (&"x".repeat(2_000), false),
            (&"x".repeat(200_000), false),
            (&long, false),
            (&many, false),
        ] {
            std::fs::write(file.path(), text).unwrap();
            let read = Tokens::read(file.path());
            assert_eq!(read.is_ok(), fine, "{text}");
            assert!(read.err().is_none_or(|error| !error.contains("0123")));
        }
        assert!(Tokens::read(Path::new("none")).unwrap_err().contains("\"none\""));
    }
}
