//! The page: head, style, and the sections in their order.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Document, quality, sections};

/// How it looks on screen and on paper.
const STYLE: &str = include_str!("style.css");

/// The whole document.
pub(super) fn page(document: &Document) -> Markup {
    let title = format!("{}: {}", document.kind, document.name);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                // Nothing is loaded and nothing runs, whatever a name or a picture holds.
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; img-src data:; style-src 'unsafe-inline'";
                title { (title) }
                style { (PreEscaped(STYLE)) (PreEscaped(running_head(&title, &document.dated))) }
            }
            body {
                (patterns())
                main {
                    (head(document))
                    (sections::inspected(document))
                    (sections::counts(document))
                    (sections::rates(document))
                    (quality::scores(document))
                    (quality::quality(document))
                    (quality::notable(document))
                    (sections::suppressed(document))
                    (sections::latencies(document))
                    (sections::environment(document))
                }
            }
        }
    }
}

fn head(document: &Document) -> Markup {
    html! {
        header {
            p.kind { "Intakt · " (document.kind) " report" }
            h1 { (document.name) }
            p.dated { (document.dated) }
            @for warning in &document.warnings {
                p.warning { strong { "Note: " } (warning) }
            }
            @for wrong in document.contradictions() {
                p.warning.wrong { strong { "Do not rely on this report: " } (wrong) }
            }
            ul.summary {
                @for sentence in &document.summary { li { (sentence) } }
            }
        }
    }
}

/// Hatchings that tell colours apart without their colour.
fn patterns() -> Markup {
    html! {
        svg.patterns width="0" height="0" aria-hidden="true" {
            defs {
                pattern id="hatched" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                    rect width="6" height="6" fill="#d55e00" {}
                    line x1="0" y1="0" x2="0" y2="6" stroke="#fff" stroke-width="1.6" {}
                }
                pattern id="dotted" width="5" height="5" patternUnits="userSpaceOnUse" {
                    rect width="5" height="5" fill="#fff" {}
                    circle cx="2.5" cy="2.5" r="1.3" fill="#444" {}
                }
            }
        }
    }
}

/// What is printed at the top and bottom of every page.
fn running_head(title: &str, dated: &str) -> String {
    format!(
        "@page{{@top-left{{content:{}}}@top-right{{content:{}}}}}",
        css_string(title),
        css_string(dated)
    )
}

/// Text as a string of CSS. All but letters and digits of ASCII are escaped, so that none of it is anything but text.
fn css_string(text: &str) -> String {
    let mut string = String::from("\"");
    for c in text.chars() {
        match c {
            _ if c.is_ascii_alphanumeric() || c == ' ' => string.push(c),
            // There is no character 0 in CSS.
            '\0' => {}
            _ => string.push_str(&format!("\\{:x} ", u32::from(c))),
        }
    }
    string.push('"');
    string
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_leaves_its_css_string() {
        assert_eq!(css_string("Run 7"), "\"Run 7\"");
        assert_eq!(css_string("a\"}</style>"), "\"a\\22 \\7d \\3c \\2f style\\3e \"");
        assert_eq!(css_string("ü\n\\\0"), "\"\\fc \\a \\5c \"");
    }
}
