use intakt_operators::Truth;

use super::support::{Tree, assert_says, complaint, names};
use crate::datasets::{Dataset, DatasetError, Layout, Need, Split};

/// A manifest beside the images `a.png`, `b.png`, `sub/c.png` and `m.png`.
fn manifest(text: impl AsRef<[u8]>) -> Tree {
    Tree::of(&["a.png", "b.png", "sub/c.png", "m.png"]).file("list.csv", text)
}

fn open(tree: &Tree) -> Result<Dataset, DatasetError> {
    Dataset::open(&tree.path("list.csv"), None, None)
}

/// What is wrong with a manifest of these rows below the usual header.
fn complaint_of_rows(rows: &str) -> String {
    complaint(open(&manifest(format!(
        "path,split,label,mask,camera,captured_at\n{rows}"
    ))))
}

#[test]
fn a_manifest_says_everything() {
    let tree = manifest(
        "\u{feff}label, path ,split,captured_at,camera,mask\r\n\
         normal,b.png,train,,,\r\n\
         scratch, ./sub/c.png ,test,1970-01-01T00:00:02.5Z,left,m.png\r\n\
         \r\n\
         anomalous,a.png,calibrate,17,,\r\n",
    );
    let dataset = open(&tree).unwrap();
    assert_eq!(dataset.layout, Layout::Csv);
    let [a, b, c] = &dataset.items[..] else {
        panic!("{:?}", dataset.items)
    };
    assert_eq!([&a.name, &b.name, &c.name], ["a.png", "b.png", "sub/c.png"]);
    assert_eq!(
        [a.split, b.split, c.split],
        [Split::Calibrate, Split::Train, Split::Test]
    );
    assert_eq!(a.truth, Truth::Anomalous("anomalous".to_owned()));
    assert_eq!(b.truth, Truth::Normal);
    assert_eq!(c.truth, Truth::Anomalous("scratch".to_owned()));
    assert_eq!(
        [a.captured_at_us, b.captured_at_us, c.captured_at_us],
        [Some(17), None, Some(2_500_000)]
    );
    assert_eq!(c.masks, [tree.path("m.png")]);
    assert_eq!(c.camera, "left");
    assert_eq!(a.camera, tree.root().file_name().unwrap().to_str().unwrap());
    assert_eq!(b.path, tree.path("b.png"));
    dataset.check(Need::Evaluate).unwrap();
}

#[test]
fn paths_may_lead_out_of_the_directory() {
    let elsewhere = Tree::of(&["x.png"]);
    let absolute = elsewhere.path("x.png");
    let text = format!(
        "path,split,label\n{},train,normal\n../a.png,train,normal\n",
        absolute.display()
    );
    let tree = Tree::of(&["a.png"]).file("lists/list.csv", text);
    let dataset = Dataset::open(&tree.path("lists/list.csv"), None, None).unwrap();
    assert_eq!(names(&dataset, Split::Train), ["../a.png", absolute.to_str().unwrap()]);
    assert_eq!(dataset.items[1].path, absolute);
    dataset.check(Need::Fit).unwrap();
}

#[test]
fn a_bad_header_is_explained() {
    for (header, parts) in [
        (
            "path,split,lable",
            &["line 1", "no column is called `lable`", "known are path, split, label"][..],
        ),
        (
            "path,split",
            &["line 1", "column `label` is missing", "the header is `path, split`"],
        ),
        ("path,split,label,path", &["line 1", "column `path` comes twice"]),
        ("", &["line 1", "column `path` is missing"]),
    ] {
        assert_says(&complaint(open(&manifest(header))), parts);
    }
}

#[test]
fn a_bad_cell_is_named_by_line_and_column() {
    for (row, parts) in [
        (
            "a.png,training,normal,,,",
            &["column `split`", "`training` is no split", "train, calibrate or test"][..],
        ),
        ("a.png,,normal,,,", &["column `split`", "`` is no split"]),
        ("a.png,test,,,,", &["column `label`", "it is empty"]),
        (
            "a.png,test,Good,,,",
            &[
                "column `label`",
                "`Good` would be the class of a defect",
                "write normal",
            ],
        ),
        ("a.png,test,Normal,,,", &["column `label`", "write normal"]),
        (
            "a.png,train,dent,,,",
            &["column `label`", "must be `normal`", "use split `test`"],
        ),
        ("no.png,test,normal,,,", &["column `path`", "cannot find", "no.png"]),
        (",test,normal,,,", &["column `path`", "it is empty"]),
        ("sub,test,normal,,,", &["column `path`", "is not a file"]),
        ("a.png,test,dent,no.png,,", &["column `mask`", "cannot find", "no.png"]),
        (
            "a.png,test,dent,,,noon",
            &["column `captured_at`", "`noon` is no time", "microseconds since 1970"],
        ),
        ("a.png,test", &["2 cells, but the header has 6", "needs quotes"]),
    ] {
        let message = complaint_of_rows(&format!("b.png,train,normal,,,\n{row}\n"));
        assert_says(&message, &["cannot read manifest", "list.csv", "line 3"]);
        assert_says(&message, parts);
    }
}

#[test]
fn a_path_that_comes_twice_is_refused() {
    let message = complaint_of_rows("a.png,train,normal,,,\nb.png,train,normal,,,\n./sub/../a.png,test,normal,,,\n");
    assert_says(
        &message,
        &["line 4, column `path`", "./sub/../a.png", "listed on line 2 already"],
    );
}

#[test]
fn what_is_not_utf8_is_refused() {
    let message = complaint(open(&manifest(b"path,split,label\na.png,test,d\xe9faut\n")));
    assert_says(&message, &["line 2", "not valid UTF-8"]);
}

#[test]
fn an_unclosed_quote_does_not_fill_the_memory() {
    let mut text = "path,split,label\nb.png,train,normal\n\"a.png,train,normal\n".to_owned();
    text.push_str(&"x".repeat(1_000_000));
    assert_says(
        &complaint(open(&manifest(text))),
        &["line 3", "longer than 65536 bytes", "is a quote not closed?"],
    );
}

#[test]
fn long_manifests_are_no_long_rows() {
    let tree = (0..3000).fold(Tree::new(), |tree, i| tree.file(&format!("{i:050}.png"), ""));
    let rows: String = (0..3000).map(|i| format!("{i:050}.png,train,normal\n")).collect();
    let tree = tree.file("list.csv", format!("path,split,label\n{rows}"));
    assert_eq!(open(&tree).unwrap().items.len(), 3000);
    let message = complaint(Dataset::open_within(&tree.path("list.csv"), None, None, 2999));
    assert_says(&message, &["list.csv", "more than 2999 entries"]);
}

#[test]
fn an_empty_split_names_the_column() {
    let dataset = open(&manifest("path,split,label\na.png,train,normal\n")).unwrap();
    let message = complaint(dataset.check(Need::Evaluate));
    assert_says(
        &message,
        &[
            "no test images",
            "rows with split `test`",
            "1 train",
            "hint: write the split",
        ],
    );
}

#[test]
fn a_directory_is_no_manifest() {
    let message = complaint(Dataset::open(Tree::new().folder("a").root(), Some(Layout::Csv), None));
    assert_says(&message, &["as `csv`", "a manifest `*.csv`", "found a directory"]);
}
