//! What is packaged beside the program says nothing that the program does not know.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use intakt_pipelines::sources::StopFlag;
use serde_json::{Value, json};

use crate::server::{HANG, Served, run_file};
use crate::support::{SHARED, intakt};

/// Text of a file of the repository.
fn packaged(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A metric in a query, or a sample of one: its name, and its labels with those values that have to be exactly so.
#[derive(Clone, Debug, Default, PartialEq)]
struct Selector {
    metric: String,
    labels: Vec<(String, Option<String>)>,
}

/// What is asked of Prometheus in one place.
#[derive(Debug, Default)]
struct Query {
    text: String,
    selectors: Vec<Selector>,
    /// Labels that it groups by, or that are shown of its result.
    labels: Vec<String>,
}

impl Query {
    fn new(text: &str, shown: impl IntoIterator<Item = String>) -> Self {
        let mut query = read_query(text);
        query.labels.extend(shown);
        query
    }
}

/// The metrics and labels in a query, without its functions, numbers, ranges and operators.
fn read_query(text: &str) -> Query {
    let mut query = Query {
        text: text.to_owned(),
        ..Query::default()
    };
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (word, after) = word(rest);
        let next = after.trim_start();
        match word {
            "" => rest = past(rest, first),
            _ if first.is_ascii_digit() => rest = after,
            "and" | "or" | "unless" | "bool" | "offset" => rest = after,
            "by" | "without" | "on" | "ignoring" => {
                let (list, after) = next.strip_prefix('(').unwrap().split_once(')').unwrap();
                query
                    .labels
                    .extend(list.split(',').map(|label| label.trim().to_owned()));
                rest = after;
            }
            _ if ["(", "by ", "without "].iter().any(|begins| next.starts_with(begins)) => rest = next,
            metric => {
                let (labels, after) = next.strip_prefix('{').map_or((Vec::new(), next), read_labels);
                query.selectors.push(Selector {
                    metric: metric.to_owned(),
                    labels,
                });
                rest = after;
            }
        }
    }
    query
}

/// The letters, digits and underscores that a text begins with, and what follows.
fn word(text: &str) -> (&str, &str) {
    let end = text.find(|of: char| !of.is_ascii_alphanumeric() && of != '_');
    text.split_at(end.unwrap_or(text.len()))
}

/// What follows a sign, or that which it opens.
fn past(text: &str, sign: char) -> &str {
    let after = &text[sign.len_utf8()..];
    let close = match sign {
        '"' => '"',
        '[' => ']',
        _ => return after,
    };
    after.split_once(close).unwrap().1
}

/// Labels up to the brace that closes them, and what follows.
fn read_labels(text: &str) -> (Vec<(String, Option<String>)>, &str) {
    let mut labels = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return (labels, after);
        }
        let (label, after) = word(rest);
        let (operator, after) = after.split_once('"').unwrap();
        let (value, after) = after.split_once('"').unwrap();
        let exactly = (operator == "=").then(|| value.to_owned());
        labels.push((label.to_owned(), exactly));
        rest = after;
    }
}

/// The words that follow `mark` in a text.
fn words_after(text: &str, mark: &str) -> Vec<String> {
    let after = text.split(mark).skip(1);
    after.map(|after| word(after).0.to_owned()).collect()
}

#[test]
fn a_query_is_taken_apart() {
    let text =
        r#"sum by (le, stage) (rate(a_bucket{x=~"$x",y="1, }"}[$__rate_interval])) / on (z) b > 0.5e3 and vector(0)"#;
    let query = read_query(text);
    let selector = |metric: &str, labels: &[(&str, Option<&str>)]| Selector {
        metric: metric.to_owned(),
        labels: labels
            .iter()
            .map(|(label, value)| ((*label).to_owned(), value.map(str::to_owned)))
            .collect(),
    };
    let expected = [
        selector("a_bucket", &[("x", None), ("y", Some("1, }"))]),
        selector("b", &[]),
    ];
    assert_eq!(query.selectors, expected);
    assert_eq!(query.labels, ["le", "stage", "z"]);
    assert_eq!(words_after("{{camera}} of {{window}}", "{{"), ["camera", "window"]);
}

/// What the dashboard asks: its panels and its variables.
fn queries_of_the_dashboard() -> Vec<Query> {
    let dashboard = packaged("packaging/grafana/dashboards/intakt.json");
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let mut queries: Vec<Query> = targets
        .map(|target| {
            let [query, legend] = ["expr", "legendFormat"].map(|key| target[key].as_str().unwrap());
            Query::new(query, words_after(legend, "{{"))
        })
        .collect();
    let variables = dashboard["templating"]["list"].as_array().unwrap().iter();
    for variable in variables.filter_map(|variable| variable["query"]["query"].as_str()) {
        let values = variable
            .strip_prefix("label_values(")
            .unwrap()
            .strip_suffix(')')
            .unwrap();
        let (selector, label) = values.rsplit_once(", ").unwrap();
        queries.push(Query::new(selector, [label.to_owned()]));
    }
    queries
}

/// What the rules ask, each with the labels in what it says.
fn queries_of_the_rules() -> Vec<Query> {
    let rules = packaged("packaging/prometheus/rules.yml");
    let rules: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    let query = |rule: &&str| {
        let line = rule.lines().find_map(|line| line.trim().strip_prefix("expr: "));
        Query::new(
            line.unwrap_or_else(|| panic!("no query in one line: {rule}")),
            words_after(rule, "$labels."),
        )
    };
    rules.iter().map(query).collect()
}

/// A simulated camera whose time goes on as fast as it can.
const FAST_LINE: &str = r#"
detector = "line.intakt"
run = "run"

[server]
listen = "127.0.0.1:0"

[rates]
windows = ["1m", "15m", "1h"]
alerts = ["reject_rate 1m > 0 %"]

[[what_if]]
name = "stricter"
threshold = 0.45

[[camera]]
name = "fabric"
source = "synthetic"
scene = "fabric"
overflow = "block"
"#;

/// What a run serves: the labels of each metric, each with its values.
#[derive(Default)]
struct Offered {
    /// The names alone, also of those that have no value yet.
    families: BTreeSet<String>,
    samples: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
}

impl Offered {
    fn add(&mut self, metrics: &str) {
        for line in metrics.lines() {
            match line.strip_prefix("# TYPE ") {
                Some(family) => self.family(family),
                None if line.starts_with('#') => {}
                None => self.sample(read_query(line).selectors.remove(0)),
            }
        }
    }

    fn family(&mut self, described: &str) {
        let (name, kind) = described.split_once(' ').unwrap();
        let suffixes: &[&str] = match kind {
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        let names = suffixes.iter().map(|suffix| format!("{name}{suffix}"));
        self.families.extend(names);
    }

    fn sample(&mut self, sample: Selector) {
        let labels = self.samples.entry(sample.metric).or_default();
        for (label, value) in sample.labels {
            labels.entry(label).or_default().extend(value);
        }
    }

    /// What is wrong with a query whose metrics all have samples.
    fn wrong(&self, query: &Query) -> Vec<String> {
        let mut wrong = Vec::new();
        // Those that Prometheus adds.
        let mut known = BTreeSet::from(["instance", "job"]);
        for Selector { metric, labels } in &query.selectors {
            let of_metric = &self.samples[metric];
            known.extend(of_metric.keys().map(String::as_str));
            for (label, value) in labels.iter().filter(|(label, _)| label != "instance" && label != "job") {
                match of_metric.get(label) {
                    None => wrong.push(format!("{metric} has no label {label}")),
                    Some(values) if value.as_ref().is_some_and(|value| !values.contains(value)) => {
                        wrong.push(format!("{label} of {metric} is never {value:?}"));
                    }
                    Some(_) => {}
                }
            }
        }
        let unknown = query.labels.iter().filter(|label| !known.contains(label.as_str()));
        wrong.extend(unknown.map(|label| format!("no metric has a label {label}")));
        wrong
    }
}

#[test]
fn what_is_asked_of_prometheus_is_what_a_run_serves() {
    let mut queries = queries_of_the_dashboard();
    queries.extend(queries_of_the_rules());
    assert!(queries.len() > 40 && queries.iter().all(|query| !query.selectors.is_empty()));
    let asked: BTreeSet<&str> = queries
        .iter()
        .flat_map(|query| query.selectors.iter().map(|selector| selector.metric.as_str()))
        // Prometheus' own: whether it was answered.
        .filter(|metric| *metric != "up")
        .collect();

    let (dir, path) = run_file(FAST_LINE);
    // Into a file: a pipe that nobody reads is soon full, and the run would wait.
    let log = dir.path().join("verdicts.jsonl");
    let served = Served::start(&path, &["--jsonl", log.to_str().unwrap()]);
    let truths = ["normal", "anomalous"].into_iter().cycle();
    let labels: Vec<Value> = (0..1_200)
        .step_by(7)
        .zip(truths)
        .map(|(seq, truth)| json!({"camera": "fabric", "seq": seq, "truth": truth}))
        .collect();
    let labels = serde_json::to_vec(&labels).unwrap();
    let (status, answer) = served.exchange(
        "POST /api/v1/labels HTTP/1.1\r\ncontent-type: application/json\r\n",
        &labels,
    );
    assert_eq!(status, 202, "{answer}");

    let (mut offered, began, never) = (Offered::default(), Instant::now(), StopFlag::default());
    loop {
        offered.add(&served.exchange("GET /metrics HTTP/1.1\r\n", b"").1);
        let unknown = asked.iter().filter(|metric| !offered.families.contains(**metric));
        assert_eq!(unknown.collect::<Vec<_>>(), Vec::<&&str>::new(), "what no run serves");
        let missing = asked.iter().filter(|metric| !offered.samples.contains_key(**metric));
        let missing: Vec<_> = missing.collect();
        if missing.is_empty() {
            break;
        }
        assert!(began.elapsed() < HANG, "without a value so far: {missing:?}");
        never.wait(Duration::from_millis(50));
    }
    assert_eq!(served.interrupt(), 1, "the simulated line has defects");
    offered.samples.insert("up".to_owned(), BTreeMap::new());
    for query in &queries {
        let wrong = offered.wrong(query);
        assert!(wrong.is_empty(), "{wrong:?} in {}", query.text);
    }
}

#[test]
fn the_example_line_can_be_run() {
    let (dir, path) = run_file("");
    let at = |name: &str| dir.path().join(name);
    for name in ["fabric.intakt", "metal.intakt"] {
        fs::copy(&SHARED.detector, at(name)).unwrap();
    }
    fs::write(at("token"), "0123456789abcdef\n").unwrap();
    let here = format!("{}/", dir.path().display());
    let example = packaged("packaging/example/line.toml")
        .replace("/var/lib/intakt/demo/", &here)
        .replace("/run/secrets/", &here);
    fs::write(&path, example).unwrap();
    let plan = intakt(&[&"check", &path, &"--run", &at("run")]).expect(0).stdout;
    assert!(plan.contains("served on http://0.0.0.0:8080, with a token"), "{plan}");
}

#[test]
fn the_image_is_built_by_the_toolchain_that_is_pinned() {
    let dockerfile = packaged("Dockerfile");
    let argument = |name: &str| {
        dockerfile
            .lines()
            .find_map(|line| line.strip_prefix(&format!("ARG {name}=")))
    };
    let toolchain = packaged("rust-toolchain.toml");
    let channel = argument("RUST_VERSION").map(|version| format!("channel = \"{version}\""));
    assert!(toolchain.contains(&channel.unwrap()), "{toolchain}");
    assert_eq!(argument("VERSION"), Some(env!("CARGO_PKG_VERSION")));
}

/// The words of every command line of the program in a file: the verb first.
fn command_lines(path: &str) -> Vec<Vec<String>> {
    let text = packaged(path).replace("\\\n", " ");
    let lines = text.lines().filter(|line| {
        let line = line.trim_start();
        ["ExecStart=", "CMD [", "HEALTHCHECK ", "test: ["]
            .iter()
            .any(|begins| line.starts_with(begins))
    });
    let words = lines.map(|line| {
        let words = line.split([' ', ',', '"', '[', ']']).filter(|word| !word.is_empty());
        let words = words
            .map(str::to_owned)
            .skip_while(|word| !["inspect", "health"].contains(&word.as_str()));
        words.collect()
    });
    words.collect()
}

#[test]
fn what_starts_and_watches_a_run_knows_its_options() {
    let of = [
        "Dockerfile",
        "packaging/compose.yaml",
        "packaging/systemd/intakt.service",
    ]
    .map(command_lines);
    assert_eq!(of.each_ref().map(Vec::len), [2, 1, 1], "{of:?}");
    for words in of.iter().flatten() {
        let (verb, rest) = words.split_first().unwrap();
        let help = intakt(&[verb, &"--help"]).expect(0).stdout;
        for option in rest.iter().filter(|word| word.starts_with("--")) {
            let known = help.split_whitespace().any(|word| word == option);
            assert!(known, "`intakt {verb}` has no {option}");
        }
    }
}

#[test]
fn a_run_is_asked_for_its_health_without_a_shell() {
    let (dir, path) = run_file(
        "detector = \"line.intakt\"\n[server]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"token\"\n\
         [[camera]]\nname = \"dock\"\nsource = \"http\"\n",
    );
    let token: PathBuf = dir.path().join("token");
    fs::write(&token, "0123456789abcdef\n").unwrap();
    let served = Served::listening(&path, &[]);
    let never = StopFlag::default();
    while served
        .exchange("GET /ready HTTP/1.1\r\nauthorization: Bearer 0123456789abcdef\r\n", b"")
        .0
        != 200
    {
        never.wait(Duration::from_millis(5));
    }
    let [health, ready] = ["health", "ready"].map(|path| format!("http://{}/{path}", served.address));
    let well = intakt(&[&"health", &health]).expect(0);
    assert!(well.stderr.contains("200 {\"alive\":true}"), "{}", well.stderr);
    let bare = intakt(&[&"health", &format!("http://{}", served.address)]).expect(0);
    assert!(bare.stderr.contains("200 {\"alive\":true}"), "{}", bare.stderr);
    let stranger = intakt(&[&"health", &ready]).expect(1);
    assert!(stranger.stderr.contains(": 401 "), "{}", stranger.stderr);
    let shown = intakt(&[&"health", &ready, &"--token-file", &token]).expect(0);
    assert!(!shown.stderr.contains("0123456789abcdef"));
    assert_eq!(served.interrupt(), 0);

    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = intakt(&[&"health", &format!("http://{nobody}/health")]).expect(1);
    assert!(gone.stderr.contains("no answer"), "{}", gone.stderr);
    for url in [
        "127.0.0.1:8080",
        "https://127.0.0.1/health",
        "http://127.0.0.1:99999/health",
        "http://",
        "/health",
    ] {
        intakt(&[&"health", &url]).expect_error(&["cannot ask", url, "http://HOST:PORT/PATH"]);
    }
}
